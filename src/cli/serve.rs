//! `ringgate serve`: the gateway.

use clap::Args;

use super::Error;
use super::flags::SettingFlags;

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
    Err(Error::Failed("serve: not linked in yet".into()))
}
