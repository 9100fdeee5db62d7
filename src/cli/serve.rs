//! `ringgate serve`: the gateway.

use std::{io, thread};

use clap::Args;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use super::{Error, config::json, flags::SettingFlags};
use crate::{config::Effective, gateway::Gateway, host};

/// Arguments of `ringgate serve`.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// The settings.
    #[command(flatten)]
    pub settings: SettingFlags,
}

/// Runs the gateway until it is told to stop.
///
/// # Errors
/// A bad configuration, or whatever ends the gateway early.
pub fn run(args: &ServeArgs) -> Result<(), Error> {
    let effective = args.settings.load()?;
    super::start_log::start(&effective);
    let gateway = start(effective)?;
    wait(gateway)
}

/// Starts the gateway and says where it is.
pub(super) fn start(mut effective: Effective) -> Result<Gateway, Error> {
    host::prepare(&mut effective).map_err(Error::Usage)?;
    let config = &effective.config;
    match &config.redis {
        Some(url) => log::info!("broker: {url}, one connection a shard"),
        None => log::info!(
            "broker: embedded, with its built-in worker: for one machine, and nothing outlives \
             the process; give --redis URL for Redis"
        ),
    }
    let gateway = Gateway::start(config, json(&effective.values))
        .map_err(|error| Error::Failed(error.to_string()))?;
    log::info!("node: {}", gateway.node());
    log::info!("listening on {}, {} shards", gateway.address(), config.cores.len());
    for route in &config.routes {
        log::info!("route: {} ({})", route.path, route.kind.name());
    }
    if let Some(admin) = gateway.admin_address() {
        log::info!("admin: http://{admin}/");
    }
    Ok(gateway)
}

/// Waits for the gateway to end; the first SIGTERM or SIGINT drains it, the second ends it.
pub(super) fn wait(gateway: Gateway) -> Result<(), Error> {
    let failed = |error: io::Error| Error::Failed(error.to_string());
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(failed)?;
    let handle = signals.handle();
    let ender = gateway.ender();
    let listener = thread::spawn(move || {
        for _ in signals.forever() {
            if ender.is_draining() {
                log::warn!("ending at once");
                ender.end();
            } else {
                log::info!("draining; a second signal ends at once");
                ender.drain();
            }
        }
    });
    let outcome = gateway.wait().map_err(failed);
    handle.close();
    let _ = listener.join();
    log::info!("ended");
    outcome
}
