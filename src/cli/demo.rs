//! `ringgate demo`: the whole thing on one machine with nothing installed.

use std::{
    io::{self, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    thread,
};

use clap::{Args, ValueHint};
use log::LevelFilter;

use super::{Error, flags::SettingFlags, reload::Reloading, serve};
use crate::{
    config::Source,
    demo::{self, Recording},
};

/// Arguments of `ringgate demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// The settings.
    #[command(flatten)]
    pub settings: SettingFlags,
    /// Audio to stream, 16 kHz mono 16-bit WAV [default: a recording that comes with the program]
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// Exit after the stream instead of serving on
    #[arg(long)]
    pub once: bool,
}

/// Runs the demo, and then the gateway until it is told to stop.
///
/// # Errors
/// A bad configuration, a file that is no such audio, or whatever ends the demo early.
pub fn run(args: &DemoArgs) -> Result<(), Error> {
    let mut effective = args.settings.load()?;
    // The results are the show; who wants the log as well asks for it.
    if effective.source("log_level") == Some(&Source::Default) {
        effective.config.log_level = LevelFilter::Error;
    }
    let recording = match &args.file {
        Some(path) => Recording::read(path).map_err(Error::Usage)?,
        None => Recording::shipped(),
    };
    super::start_log::start(&effective);
    let route = effective.config.tasks_path().map(str::to_owned).ok_or_else(|| {
        Error::Usage("demo: the configuration has no tasks route to stream to; add one".into())
    })?;
    let signals = serve::signals()?;
    let gateway = serve::start(&mut effective)?;
    let reloading = Reloading::new(args.settings.clone(), effective, gateway.reloader());
    let (address, admin, ender) =
        (reachable(gateway.address()), gateway.admin_address(), gateway.ender());
    let once = args.once;
    let client = thread::spawn(move || {
        let mut out = io::stdout();
        let streamed = demo::stream(address, &route, &recording, &mut out);
        if once || streamed.is_err() {
            ender.drain();
        } else {
            let _ = writeln!(out, "\nserving on ws://{address}{route}; Ctrl-C ends it");
            if let Some(admin) = admin {
                let _ = writeln!(out, "dashboard: http://{}/", reachable(admin));
            }
        }
        streamed
    });
    serve::wait(gateway, reloading, signals)?;
    match client.join() {
        Ok(streamed) => streamed.map_err(|error| Error::Failed(format!("demo: {error}"))),
        Err(_) => Err(Error::Failed("demo: its client panicked".into())),
    }
}

/// An address that a client on this machine can connect to.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
