//! ▢ Figures as people read them: three digits that matter, and a unit.

use serde::Serialize;

/// What a figure counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Things.
    Count,
    /// Things a second.
    PerSecond,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
    /// Processor time a second; 1 is one core.
    Cores,
    /// Bytes.
    Bytes,
    /// `1 / (1 - share)` of a percentile, so that 99 % and 99.9 % are as far apart as 90 % and 99 %.
    Percentile,
}

impl Unit {
    /// `value` with its unit.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Count => digits(value),
            Self::PerSecond => format!("{}/s", digits(value)),
            Self::Seconds => format!("{} s", digits(value)),
            Self::Milliseconds => format!("{} ms", digits(value)),
            Self::Microseconds => format!("{} µs", digits(value)),
            Self::Cores => format!("{value:.3} cores"),
            Self::Bytes => bytes(value),
            Self::Percentile => format!("{} %", digits(100.0 - 100.0 / value)),
        }
    }
}

/// A number with three digits that matter, or all those before the point, these in threes.
pub fn digits(value: f64) -> String {
    let size = value.abs();
    let decimals = match size {
        _ if value.fract() == 0.0 || !size.is_finite() || size >= 100.0 => 0,
        _ if size >= 10.0 => 1,
        _ if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let first = whole.find(|sign: char| sign.is_ascii_digit()).unwrap_or(whole.len());
    let (sign, whole) = whole.split_at(first);
    let mut grouped = String::new();
    for (nth, digit) in whole.chars().enumerate() {
        if nth > 0 && (whole.len() - nth) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{fraction}")
}

fn bytes(value: f64) -> String {
    const UNITS: [(&str, f64); 3] =
        [("GiB", 1_073_741_824.0), ("MiB", 1_048_576.0), ("KiB", 1_024.0)];
    // Kernel figures are mostly below 10 KiB, and are known as bytes.
    let unit = UNITS.iter().find(|(_, size)| value.abs() >= *size * 10.0);
    match unit {
        Some((name, size)) => format!("{} {name}", digits(value / size)),
        None => format!("{} B", digits(value.round())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        let shown = [
            digits(0.0),
            digits(1_234_567.0),
            digits(-1234.5),
            digits(12.345),
            digits(0.0456),
            digits(999.0),
            digits(f64::NAN),
            Unit::Bytes.show(4_321.4),
            Unit::Bytes.show(64.0 * 1024.0 * 1024.0),
            Unit::Percentile.show(1000.0),
            Unit::Microseconds.show(7.5),
        ];
        let expected = [
            "0",
            "1,234,567",
            "-1,234",
            "12.3",
            "0.046",
            "999",
            "NaN",
            "4,321 B",
            "64 MiB",
            "99.9 %",
            "7.50 µs",
        ];
        assert_eq!(shown, expected);
    }
}
