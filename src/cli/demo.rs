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
    config::Config,
    config::Source,
    demo::{self, Recording, ticker::Ticker, topics},
    gateway::Gateway,
};

/// Of the prices of the ticker: the same show every time.
const TICKER_SEED: u64 = 20_260_101;

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
    /// Publish no prices on the topics route
    #[arg(long)]
    pub no_ticker: bool,
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
    let ticker = if args.no_ticker { None } else { ticker(&gateway, &effective.config)? };
    let show = Show {
        address: reachable(gateway.address()),
        admin: gateway.admin_address().map(reachable),
        tasks: route,
        topics: effective.config.topics_routes().next().map(|(path, _)| path.to_owned()),
        ticks: ticker.is_some(),
    };
    let reloading = Reloading::new(args.settings.clone(), effective, gateway.reloader());
    let (ender, once) = (gateway.ender(), args.once);
    let client = thread::spawn(move || {
        let mut out = io::stdout();
        let shown = show.run(&recording, &mut out);
        if once || shown.is_err() {
            ender.drain();
        } else {
            let _ = show.say_what_is_served(&mut out);
        }
        shown
    });
    let served = serve::wait(gateway, reloading, signals);
    drop(ticker);
    served?;
    match client.join() {
        Ok(shown) => shown.map_err(|error| Error::Failed(format!("demo: {error}"))),
        Err(_) => Err(Error::Failed("demo: its client panicked".into())),
    }
}

/// Where there is a topics route that the embedded broker carries.
fn ticker(gateway: &Gateway, config: &Config) -> Result<Option<Ticker>, Error> {
    let (Some(port), Some((_, route))) = (gateway.worker_port(), config.topics_routes().next())
    else {
        return Ok(None);
    };
    let ticker = Ticker::start(port, route.channel.clone(), TICKER_SEED);
    ticker.map(Some).map_err(|error| Error::Failed(format!("demo: {error}")))
}

/// What is to be seen, and where.
struct Show {
    address: SocketAddr,
    admin: Option<SocketAddr>,
    tasks: String,
    topics: Option<String>,
    /// Something is published there.
    ticks: bool,
}

impl Show {
    fn run(&self, recording: &Recording, out: &mut impl Write) -> io::Result<()> {
        demo::stream(self.address, &self.tasks, recording, out)?;
        match &self.topics {
            Some(path) if self.ticks => topics::show(self.address, path, out),
            _ => Ok(()),
        }
    }

    fn say_what_is_served(&self, out: &mut impl Write) -> io::Result<()> {
        let Self { address, tasks, .. } = self;
        writeln!(out, "\nserving on ws://{address}{tasks}; Ctrl-C ends it")?;
        if let Some(path) = &self.topics {
            writeln!(out, "topics: connect to ws://{address}{path} and send")?;
            writeln!(out, "  {}", topics::example())?;
        }
        if let Some(admin) = self.admin {
            if self.ticks {
                let data = "--data '{\"price\": 1}'";
                writeln!(out, "publish: curl {data} http://{admin}/v1/topics/AAPL")?;
            }
            writeln!(out, "dashboard: http://{admin}/")?;
        }
        Ok(())
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
