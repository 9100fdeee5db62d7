//! ▢ The report for people.

use std::fmt::{self, Display, Formatter};

use super::{Report, plateau::Plateau};

impl Display for Report {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let (host, totals) = (&self.host, &self.totals);
        let commit = host.commit.as_deref().unwrap_or("no commit known");
        writeln!(out, "{} of {}, {:.1} s", self.profile, self.server, self.seconds)?;
        writeln!(
            out,
            "{}, {} cores, Linux {}; ringgate {} ({commit}{})\n",
            host.cpu,
            host.cores,
            host.kernel,
            host.ringgate,
            if host.optimised { "" } else { ", not optimised" }
        )?;
        plateaus(out, &self.plateaus)?;
        let (begun, opened) = (totals.begun, totals.opened);
        let (p50, p99) = (self.opening.quantile_ms(0.5), self.opening.quantile_ms(0.99));
        writeln!(
            out,
            "connections    {opened} of {begun} opened, p50 {p50:.1} ms, p99 {p99:.1} ms"
        )?;
        if totals.expected > 0 {
            writeln!(
                out,
                "messages       {} sent, {} received of {}, {} lost with their connection, {} wrong",
                totals.sent, totals.received, totals.expected, totals.lost, totals.wrong
            )?;
        }
        if totals.told > 0 {
            writeln!(out, "told as lost   {} by the server", totals.told)?;
        }
        if totals.pings > 0 {
            writeln!(out, "pings          {} answered", totals.pings)?;
        }
        for (name, count) in &self.counts {
            writeln!(out, "{name:<14} {count}")?;
        }
        for (name, times) in &self.times {
            let [p50, p99] = [0.5, 0.99].map(|share| times.quantile_ms(share));
            let (count, max) = (times.len(), times.max_ms());
            writeln!(
                out,
                "{name:<14} {count} times, p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.1} ms"
            )?;
        }
        for figure in &self.figures {
            writeln!(out, "{:<14} {} {}", figure.name, rounded(figure.value), figure.unit)?;
        }
        for (why, times) in &self.failures {
            writeln!(out, "failed         {times} x {why}")?;
        }
        if let Some(cost) = &self.cost {
            write!(out, "\n{cost}")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(out, "note           {note}"))?;
        if self.interrupted {
            writeln!(out, "interrupted    what was measured until then")?;
        }
        self.invalid.iter().try_for_each(|why| writeln!(out, "INVALID        {why}"))
    }
}

fn plateaus(out: &mut Formatter<'_>, plateaus: &[Plateau]) -> fmt::Result {
    if plateaus.is_empty() {
        return writeln!(out, "nothing was measured");
    }
    writeln!(
        out,
        "{:>9} {:>9} {:>8} {:>11} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8} {:>6}",
        "users",
        "open",
        "s",
        "messages/s",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "max ms",
        "server",
        "us/msg",
        "load"
    )?;
    for plateau in plateaus {
        writeln!(
            out,
            "{:>9} {:>9} {:>8.1} {:>11.0} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8} {:>6.2}",
            plateau.users,
            plateau.open_least,
            plateau.seconds,
            plateau.received_per_second,
            ms(plateau, plateau.latency_p50_ms),
            ms(plateau, plateau.latency_p90_ms),
            ms(plateau, plateau.latency_p99_ms),
            ms(plateau, plateau.latency_max_ms),
            plateau.server_cores.map_or("-".to_owned(), |cores| format!("{cores:.3}")),
            plateau.server_us_per_message.map_or("-".to_owned(), |us| format!("{us:.2}")),
            plateau.load_cores,
        )?;
    }
    writeln!(out)
}

/// A latency, where there is one.
fn ms(plateau: &Plateau, value: f64) -> String {
    if plateau.received == 0 { "-".to_owned() } else { format!("{value:.3}") }
}

fn rounded(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}
