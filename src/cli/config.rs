//! `ringgate config`: the effective configuration, every value with its source.

use std::io::Write;

use clap::Args;

use super::Error;
use super::flags::SettingFlags;
use crate::config::EffectiveValue;

/// Arguments of `ringgate config`.
#[derive(Args, Clone, Debug)]
pub struct ConfigArgs {
    /// The settings.
    #[command(flatten)]
    pub settings: SettingFlags,
    /// Print JSON: a list of {"key", "value", "source"}
    #[arg(long)]
    pub json: bool,
}

/// Prints the configuration to `out`; secrets are masked.
///
/// # Errors
/// A bad configuration, or output that can't be written.
pub fn run(args: &ConfigArgs, out: &mut dyn Write) -> Result<(), Error> {
    let values = args.settings.load()?.values;
    let text = if args.json { json(&values) } else { table(&values) };
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Error::Output)
}

fn table(values: &[EffectiveValue]) -> String {
    let width = |cell: fn(&EffectiveValue) -> &str| {
        values.iter().map(|value| cell(value).chars().count()).max().unwrap_or(0)
    };
    let (keys, texts) = (width(|value| &value.key), width(|value| &value.value));
    let row = |EffectiveValue { key, value, source }: &EffectiveValue| {
        format!("{key:keys$}  {value:texts$}  {source}\n")
    };
    values.iter().map(row).collect()
}

/// What `--json` and the admin port show.
pub(super) fn json(values: &[EffectiveValue]) -> String {
    let object = |EffectiveValue { key, value, source }: &EffectiveValue| serde_json::json!({ "key": key, "value": value, "source": source.to_string() });
    let list: serde_json::Value = values.iter().map(object).collect();
    format!("{list:#}\n")
}
