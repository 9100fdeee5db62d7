//! ▢ A comparison for people.

use std::fmt::{self, Display, Formatter};

use super::{Compared, Comparison, Side, Verdict};
use crate::bench::report::amount::digits;

impl Display for Comparison {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        for (name, side) in [("A", &self.a), ("B", &self.b)] {
            let Side { file, profile, server, began, .. } = side;
            let commit = side.commit.as_deref().unwrap_or("no commit known");
            writeln!(out, "{name}  {file}: {profile} of {server}, {began}, {commit}")?;
        }
        self.warnings.iter().try_for_each(|warning| writeln!(out, "warning: {warning}"))?;
        for group in &self.groups {
            writeln!(
                out,
                "\n{:<28} {:>12} {:>12} {:>8} {:>8}",
                group.name, "A", "B", "B/A", "noise"
            )?;
            group.figures.iter().try_for_each(|figure| row(out, figure))?;
        }
        writeln!(out)?;
        self.conclude(out)?;
        writeln!(out, "noise: {}", self.noise)
    }
}

impl Comparison {
    fn conclude(&self, out: &mut Formatter<'_>) -> fmt::Result {
        if self.groups.iter().all(|group| group.figures.iter().all(|one| one.noise.is_none())) {
            return writeln!(out, "nothing can be judged: no plateau of both is long enough");
        }
        let mut nothing = true;
        for (group, figure) in self.beyond_noise() {
            nothing = false;
            let (ratio, word) = (figure.ratio.unwrap_or(1.0), said(figure.verdict));
            writeln!(out, "{word:<9} {}, {}: B is {ratio:.3} of A", group.name, figure.name)?;
        }
        if nothing {
            writeln!(out, "nothing differs beyond noise")?;
        }
        Ok(())
    }
}

fn row(out: &mut Formatter<'_>, figure: &Compared) -> fmt::Result {
    let number = |value: Option<f64>| value.map_or("-".to_owned(), digits);
    let ratio = figure.ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
    let noise = figure.noise.map_or("-".to_owned(), |noise| format!("x {noise:.2}"));
    let (a, b) = (number(figure.a), number(figure.b));
    let line = format!(
        "  {:<26} {a:>12} {b:>12} {ratio:>8} {noise:>8}  {}",
        figure.name,
        said(figure.verdict)
    );
    writeln!(out, "{}", line.trim_end())
}

fn said(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Same => "same",
        Verdict::Better => "B better",
        Verdict::Worse => "B worse",
        Verdict::Differs => "differs",
        Verdict::Unjudged => "",
    }
}
