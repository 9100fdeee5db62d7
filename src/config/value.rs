//! How each type of value is read and shown: what is shown reads back as the same value.

use std::net::SocketAddr;

use super::source::Raw;

/// Why a value was refused: what it has to be, and what to write.
#[derive(PartialEq, Debug)]
pub(super) struct Refusal {
    pub(super) limit: String,
    pub(super) fix: String,
}

pub(super) fn refuse<V>(limit: impl Into<String>, fix: impl Into<String>) -> Result<V, Refusal> {
    Err(Refusal { limit: limit.into(), fix: fix.into() })
}

/// The text of `raw`, which `wanted` describes.
pub(super) fn text<'a>(raw: &'a Raw, wanted: &str, example: &str) -> Result<&'a str, Refusal> {
    match raw {
        Raw::Text(text) => Ok(text),
        other => refuse(
            format!("must be {wanted}, found {}", other.kind()),
            format!("write for example {example:?}"),
        ),
    }
}

/// `None` for the word that stands for nothing, otherwise what `read` makes of it.
pub(super) fn unless<V>(
    raw: &Raw,
    nothing: &str,
    read: impl FnOnce(&Raw) -> Result<V, Refusal>,
) -> Result<Option<V>, Refusal> {
    match raw {
        Raw::Text(text) if text.eq_ignore_ascii_case(nothing) => Ok(None),
        raw => match read(raw) {
            Ok(value) => Ok(Some(value)),
            Err(Refusal { limit, fix }) => refuse(limit, format!("{fix}, or {nothing:?}")),
        },
    }
}

/// `IP:PORT`. Names aren't looked up: what a listener binds must not depend on DNS.
pub(super) fn address(raw: &Raw) -> Result<SocketAddr, Refusal> {
    let wanted = "an IP address and a port";
    let example = "0.0.0.0:8080";
    text(raw, wanted, example)?.trim().parse().or_else(|_| {
        refuse(
            format!("must be {wanted} of at most 65535"),
            format!("write for example {example:?}"),
        )
    })
}

/// `true` or `false`, also as text.
pub(super) fn switch(raw: &Raw) -> Result<bool, Refusal> {
    match raw {
        Raw::Boolean(value) => Ok(*value),
        Raw::Text(text) if text.trim().eq_ignore_ascii_case("true") => Ok(true),
        Raw::Text(text) if text.trim().eq_ignore_ascii_case("false") => Ok(false),
        _ => refuse("must be true or false", "write true or false"),
    }
}

/// A whole number, `_` between digits allowed.
pub(super) fn count(raw: &Raw) -> Result<u64, Refusal> {
    let number = match raw {
        Raw::Integer(number) => u64::try_from(*number).ok(),
        Raw::Text(text) => digits(text.trim()),
        _ => None,
    };
    number.map_or_else(
        || refuse("must be a whole number, not negative", "write for example 100_000"),
        Ok,
    )
}

/// A whole number of bytes, or one with a binary unit.
pub(super) fn bytes(raw: &Raw) -> Result<u64, Refusal> {
    let wanted = "must be a size in B, KiB, MiB, GiB or TiB";
    let example = "write for example \"16MiB\" (KiB = 1024 bytes)";
    let text = match raw {
        Raw::Integer(number) => {
            return u64::try_from(*number).or_else(|_| refuse(wanted, example));
        }
        Raw::Text(text) => text.trim(),
        _ => return refuse(wanted, example),
    };
    let (number, unit) = split_unit(text);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "kib" => 10,
        "mib" => 20,
        "gib" => 30,
        "tib" => 40,
        _ => return refuse(wanted, example),
    };
    match digits(number).and_then(|number| number.checked_mul(1 << shift)) {
        Some(bytes) => Ok(bytes),
        None => refuse(wanted, example),
    }
}

/// The largest unit that leaves a whole number.
pub(super) fn show_bytes(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.iter().find(|(_, shift)| bytes != 0 && bytes.is_multiple_of(1 << shift)) {
        Some((unit, shift)) => format!("{}{unit}", bytes >> shift),
        None => format!("{bytes}B"),
    }
}

/// The units of a duration in microseconds, largest first.
const DURATION_UNITS: [(&str, u64); 5] =
    [("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];

/// A duration in steps of `step_us`; the unit is part of the value, but for zero.
pub(super) fn duration(raw: &Raw, step_us: u64) -> Result<u64, Refusal> {
    let wanted = "must be a duration with its unit: us, ms, s, min or h";
    let example = "write for example \"30s\" or \"500ms\"";
    let text = match raw {
        Raw::Integer(0) => return Ok(0),
        Raw::Text(text) => text.trim(),
        _ => return refuse(wanted, example),
    };
    let (number, unit) = split_unit(text);
    let unit = if unit == "m" { "min" } else { unit };
    let unit_us = DURATION_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, us)| *us);
    let duration_us = match (digits(number), unit_us) {
        (Some(0), None) if unit.is_empty() => Some(0),
        (Some(number), Some(unit_us)) => number.checked_mul(unit_us),
        _ => None,
    };
    match duration_us {
        Some(us) if us.is_multiple_of(step_us) => Ok(us / step_us),
        Some(_) => refuse(format!("must be a multiple of {}", show_duration(1, step_us)), example),
        None => refuse(wanted, example),
    }
}

/// `steps` times `step_us` in the largest unit that leaves a whole number.
pub(super) fn show_duration(steps: u64, step_us: u64) -> String {
    let us = steps.saturating_mul(step_us);
    let fits = |(_, unit_us): &&(&str, u64)| us != 0 && us.is_multiple_of(*unit_us);
    match DURATION_UNITS.iter().find(fits) {
        Some((unit, unit_us)) => format!("{}{unit}", us / unit_us),
        None => "0".to_owned(),
    }
}

/// A number from 0 to 1.
pub(super) fn ratio(raw: &Raw) -> Result<f64, Refusal> {
    let number = match raw {
        Raw::Float(number) => Some(*number),
        Raw::Integer(number) => Some(*number as f64),
        Raw::Text(text) => text.trim().parse().ok(),
        _ => None,
    };
    match number {
        Some(number) if (0.0..=1.0).contains(&number) => Ok(number),
        _ => refuse("must be a number from 0 to 1", "write for example 0.05"),
    }
}

/// The largest core number that Linux can be built for (`NR_CPUS`).
const CORE_MAX: usize = 8191;

/// `0-3,6` or a list of numbers: in order, none twice.
pub(super) fn cores(raw: &Raw) -> Result<Vec<usize>, Refusal> {
    let mut cores = match raw {
        Raw::Integer(number) => usize::try_from(*number).ok().map(|core| vec![core]),
        Raw::List(items) => {
            items.iter().map(|item| count(item).ok().map(|core| core as usize)).collect()
        }
        Raw::Text(text) => core_ranges(text),
        _ => None,
    }
    .filter(|cores| !cores.is_empty() && cores.iter().all(|core| *core <= CORE_MAX));
    let Some(cores) = &mut cores else {
        return refuse("must list core numbers", "write for example \"0-3,6\" or [0, 1]");
    };
    cores.sort_unstable();
    if let Some(twice) = cores.windows(2).find(|pair| pair[0] == pair[1]) {
        return refuse(format!("core {} is named twice", twice[0]), "name each core once");
    }
    Ok(std::mem::take(cores))
}

/// Ranges joined by commas, as the kernel writes core lists.
pub(super) fn core_ranges(text: &str) -> Option<Vec<usize>> {
    let number = |text: &str| text.trim().parse().ok().filter(|core| *core <= CORE_MAX);
    let mut cores = Vec::new();
    for range in text.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (number(first)?, number(last)?);
        if first > last || cores.len() > CORE_MAX {
            return None;
        }
        cores.extend(first..=last);
    }
    Some(cores)
}

/// Sorted cores as ranges.
pub(super) fn show_cores(cores: &[usize]) -> String {
    let runs: Vec<String> = cores
        .chunk_by(|before, after| before + 1 == *after)
        .map(|run| match run {
            [only] => only.to_string(),
            run => format!("{}-{}", run[0], run[run.len() - 1]),
        })
        .collect();
    runs.join(",")
}

fn digits(text: &str) -> Option<u64> {
    let well_placed = !text.starts_with('_') && !text.ends_with('_') && !text.contains("__");
    let only_digits = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    (well_placed && only_digits).then(|| text.replace('_', "").parse().ok()).flatten()
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}
