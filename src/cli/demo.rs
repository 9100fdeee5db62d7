//! `ringgate demo`: the whole thing on one machine with nothing installed.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::Error;
use super::flags::SettingFlags;

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
/// A bad configuration, or whatever ends the demo early.
pub fn run(args: &DemoArgs) -> Result<(), Error> {
    let effective = args.settings.load()?;
    super::start_log::start(&effective);
    Err(Error::Failed("demo: not linked in yet".into()))
}
