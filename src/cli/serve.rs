//! `ringgate serve`: the gateway.

use std::thread;

use clap::Args;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use super::{Error, config::json, flags::SettingFlags, reload::Reloading};
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
    let mut effective = args.settings.load()?;
    super::start_log::start(&effective);
    let signals = signals()?;
    let gateway = start(&mut effective)?;
    let reloading = Reloading::new(args.settings.clone(), effective, gateway.reloader());
    wait(gateway, reloading, signals)
}

/// Listens for signals from now on, so that none that comes during the start ends the process.
pub(super) fn signals() -> Result<Signals, Error> {
    Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(|error| Error::Failed(error.to_string()))
}

/// Starts the gateway and says where it is. `effective` may be lowered to what the host has.
pub(super) fn start(effective: &mut Effective) -> Result<Gateway, Error> {
    host::prepare(effective).map_err(Error::Usage)?;
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

/// Waits for the gateway to end; the first SIGTERM or SIGINT drains it, the second ends it;
/// SIGHUP reads the settings again.
pub(super) fn wait(
    gateway: Gateway,
    mut reloading: Reloading,
    mut signals: Signals,
) -> Result<(), Error> {
    let handle = signals.handle();
    log::info!("signals: SIGTERM drains, SIGHUP reads the settings again");
    let ender = gateway.ender();
    let listener = thread::spawn(move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                reloading.reload();
            } else if ender.is_draining() {
                log::warn!("ending at once");
                ender.end();
            } else {
                // Whoever reads the line may rely on it: /readyz fails by then.
                ender.drain();
                log::info!("draining; a second signal ends at once");
            }
        }
    });
    let outcome = gateway.wait().map_err(|error| Error::Failed(error.to_string()));
    handle.close();
    let _ = listener.join();
    log::info!("ended");
    outcome
}
