//! `ringgate man` and `ringgate completions`: out of the same definitions as the parser
//! and the configuration.

use std::io::Write;

use clap::CommandFactory;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::Error;
use super::args::Cli;
use crate::config::settings::SETTINGS;
use crate::config::{ROUTE_SETTINGS, STREAM_SETTINGS, Setting, TASKS_SETTINGS, TOPICS_SETTINGS};

/// Prints the completions of `shell` to `out`.
///
/// # Errors
/// Output that can't be written.
pub fn completions(shell: clap_complete::Shell, out: &mut dyn Write) -> Result<(), Error> {
    // The generator panics where its writer fails, so it writes to memory.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ringgate", &mut text);
    print(&text, out)
}

/// Prints the man page of the whole program, or of one `command`, to `out`.
///
/// # Errors
/// A command that doesn't exist, or output that can't be written.
pub fn man(command: Option<&str>, out: &mut dyn Write) -> Result<(), Error> {
    let mut cli = Cli::command();
    cli.build();
    let mut text = Vec::new();
    match command {
        None => {
            Man::new(cli).render(&mut text).map_err(Error::Output)?;
            settings_sections().to_writer(&mut text).map_err(Error::Output)?;
        }
        Some(name) => {
            let Some(command) = cli.find_subcommand(name) else {
                let known: Vec<_> = cli.get_subcommands().map(clap::Command::get_name).collect();
                let known = known.join(", ");
                return Err(Error::Usage(format!(
                    "man: no command {name:?}; write one of {known}"
                )));
            };
            Man::new(command.clone()).render(&mut text).map_err(Error::Output)?;
        }
    }
    print(&text, out)
}

fn print(text: &[u8], out: &mut dyn Write) -> Result<(), Error> {
    out.write_all(text).and_then(|()| out.flush()).map_err(Error::Output)
}

fn settings_sections() -> Roff {
    let mut page = Roff::new();
    page.control("SH", ["SETTINGS"]);
    page.text([roman(
        "A flag beats the environment, which beats the file given with --config, which beats \
         the default.",
    )]);
    for setting in SETTINGS {
        let flag = setting.flag.map_or_else(String::new, |flag| format!(", --{flag}"));
        entry(&mut page, setting, &format!("{flag}, {}", setting.environment_name()));
    }
    page.control("SH", ["ROUTES"]);
    page.text([roman("Each [[route]] table of the file has:")]);
    ROUTE_SETTINGS.iter().for_each(|setting| entry(&mut page, setting, ""));
    page.text([roman("and of kind tasks besides:")]);
    TASKS_SETTINGS.iter().for_each(|setting| entry(&mut page, setting, ""));
    page.text([roman("and where its queue is a stream:")]);
    STREAM_SETTINGS.iter().for_each(|setting| entry(&mut page, setting, ""));
    page.text([roman("and of kind topics besides:")]);
    TOPICS_SETTINGS.iter().for_each(|setting| entry(&mut page, setting, ""));
    page
}

fn entry<T>(page: &mut Roff, setting: &Setting<T>, names: &str) {
    let default = setting.default_text();
    page.control("TP", []);
    page.text([bold(setting.key), roman(names)]);
    let what = setting.kind.describe();
    page.text([roman(format!("{}. Value: {what}. Default: {default}.", setting.help))]);
}
