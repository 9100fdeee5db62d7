//! ▢ The figures of a report as tables of HTML.

use maud::{Markup, html};

use super::{super::Report, plots::COMPONENTS};
use crate::bench::{
    cost::model::{Cost, Point},
    report::{
        amount::{Unit, digits},
        plateau::Plateau,
    },
    tally::Times,
};

/// One column: its head, its unit, and how it is had of a row.
type Column<'r, R> = (&'r str, &'r str, Box<dyn Fn(&R) -> String + 'r>);

/// All of them.
pub(super) fn tables(report: &Report) -> Markup {
    html! {
        (plateaus(&report.plateaus))
        @if let Some(cost) = &report.cost { (memory(cost)) (coefficients(cost)) }
        div.pairs {
            (pairs("Totals", &totals(report)))
            @if !report.failures.is_empty() { (pairs("Failures", &counts(&report.failures))) }
            @if !report.counts.is_empty() { (pairs("Counts", &counts(&report.counts))) }
            @if !report.figures.is_empty() { (pairs("Figures", &figures(report))) }
        }
        (distributions(report))
        (run(report))
    }
}

fn plateaus(plateaus: &[Plateau]) -> Markup {
    let column = |name, unit, value: fn(&Plateau) -> f64| -> Column<'_, Plateau> {
        (name, unit, Box::new(move |plateau: &Plateau| digits(value(plateau))))
    };
    let latency = |name, value: fn(&Plateau) -> f64| -> Column<'_, Plateau> {
        let show = move |plateau: &Plateau| match plateau.received {
            0 => "–".to_owned(),
            _ => digits(value(plateau)),
        };
        (name, "ms", Box::new(show))
    };
    let known = |value: Option<f64>| value.map_or("–".to_owned(), digits);
    let columns: Vec<Column<'_, Plateau>> = vec![
        column("users", "", |plateau| plateau.users as f64),
        column("open, least", "", |plateau| plateau.open_least as f64),
        column("measured", "s", |plateau| plateau.seconds),
        column("sent", "", |plateau| plateau.sent as f64),
        column("received", "", |plateau| plateau.received as f64),
        column("received", "/s", |plateau| plateau.received_per_second),
        latency("mean", |plateau| plateau.latency_mean_ms),
        latency("p50", |plateau| plateau.latency_p50_ms),
        latency("p90", |plateau| plateau.latency_p90_ms),
        latency("p99", |plateau| plateau.latency_p99_ms),
        latency("p99.9", |plateau| plateau.latency_p999_ms),
        latency("max", |plateau| plateau.latency_max_ms),
        ("server", "cores", Box::new(move |plateau| known(plateau.server_cores))),
        ("server", "µs/msg", Box::new(move |plateau| known(plateau.server_us_per_message))),
        column("load", "cores", |plateau| plateau.load_cores),
        column("late", "", |plateau| plateau.late as f64),
    ];
    html! {
        @if plateaus.is_empty() {
            section { h2 { "Plateaus" } p { "Nothing was measured." } }
        } @else {
            (table("Plateaus", "The times in which the number of users did not change, without \
                    the head of each.", &columns, plateaus))
        }
    }
}

fn memory(cost: &Cost) -> Markup {
    let mut columns: Vec<Column<'_, Point>> =
        vec![("connections", "", Box::new(|point| digits(point.connections as f64)))];
    for (name, bytes) in COMPONENTS {
        let show = move |point: &Point| {
            digits((bytes(&point.memory) / point.connections.max(1) as f64).round())
        };
        columns.push((name, "B", Box::new(show)));
    }
    columns.push(("processor time", "s", Box::new(|point| digits(point.cpu_seconds))));
    columns.push(("of", "s", Box::new(|point| digits(point.seconds))));
    columns.push(("messages", "", Box::new(|point| digits(point.messages as f64))));
    let calls =
        |point: &Point| point.system_calls.map_or("–".into(), |calls| digits(calls as f64));
    columns.push(("system calls", "", Box::new(calls)));
    let what = "Bytes of the server's end, divided by the connections: what a server has without \
                any is in it; the lines below part the two.";
    html! {
        @if !cost.points.is_empty() { (table("Cost a connection", what, &columns, &cost.points)) }
        @if !cost.unread.is_empty() {
            ul.unread { @for why in &cost.unread { li { "not read: " (why) } } }
        }
    }
}

fn coefficients(cost: &Cost) -> Markup {
    let Some(fit) = &cost.fit else { return html! {} };
    let mut lines = vec![
        ("user memory", "B", fit.user_bytes),
        ("kernel memory without buffers", "B", fit.kernel_bytes),
        ("buffers", "B", fit.buffer_bytes),
    ];
    lines.extend(fit.idle_cpu_us.map(|line| ("idle processor time", "µs/s", line)));
    let rows = lines.iter().map(|(name, unit, line)| {
        let cells = [digits(line.slope), digits(line.fixed), format!("{:.4}", line.r_squared)];
        (format!("{name}, {unit}"), cells)
    });
    let mut single = Vec::new();
    let us = |us| Unit::Microseconds.show(us);
    single.extend(fit.cpu_us_per_message.map(|each| ("processor time, a message", us(each))));
    single
        .extend(fit.system_calls_per_message.map(|each| ("system calls, a message", digits(each))));
    html! {
        section {
            h2 { "Fitted lines" }
            p { "By least squares over the points above; " code { "ringgate plan --from" } " reckons with them." }
            div.wide { table {
                thead { tr { th scope="col" { "" } th scope="col" { "one more" } th scope="col" { "with none" } th scope="col" { "R²" } } }
                tbody {
                    @for (name, cells) in rows {
                        tr { th scope="row" { (name) } @for cell in cells { td { (cell) } } }
                    }
                    @for (name, cell) in single {
                        tr { th scope="row" { (name) } td { (cell) } td { "" } td { "" } }
                    }
                }
            } }
        }
    }
}

fn totals(report: &Report) -> Vec<(String, String)> {
    let totals = &report.totals;
    let all = [
        ("connections begun", totals.begun),
        ("connections opened", totals.opened),
        ("messages sent", totals.sent),
        ("messages due", totals.expected),
        ("messages received", totals.received),
        ("lost with their connection", totals.lost),
        ("wrong", totals.wrong),
        ("pings answered", totals.pings),
        ("sent over 10 ms late", totals.late),
        ("withheld by the load", totals.withheld),
    ];
    all.map(|(name, count)| (name.to_owned(), digits(count as f64))).into()
}

fn counts(counts: &std::collections::BTreeMap<String, u64>) -> Vec<(String, String)> {
    counts.iter().map(|(name, count)| (name.clone(), digits(*count as f64))).collect()
}

fn figures(report: &Report) -> Vec<(String, String)> {
    let figure = |figure: &super::super::Figure| {
        let value = format!("{} {}", digits(figure.value), figure.unit);
        (figure.name.clone(), value.trim_end().to_owned())
    };
    report.figures.iter().map(figure).collect()
}

fn distributions(report: &Report) -> Markup {
    type Row<'r> = (&'r str, &'r Times);
    let own = report.times.iter().map(|(name, times)| (name.as_str(), times));
    let rows: Vec<Row<'_>> =
        [("message", &report.latency), ("opening a connection", &report.opening)]
            .into_iter()
            .chain(own)
            .filter(|(_, times)| !times.is_empty())
            .collect();
    let quantile = |name, share: f64| -> Column<'_, Row<'_>> {
        (name, "ms", Box::new(move |(_, times)| digits(times.quantile_ms(share))))
    };
    let columns: Vec<Column<'_, Row<'_>>> = vec![
        ("", "", Box::new(|(name, _)| (*name).to_owned())),
        ("times", "", Box::new(|(_, times)| digits(times.len() as f64))),
        ("mean", "ms", Box::new(|(_, times)| digits(times.mean_ms()))),
        quantile("p50", 0.5),
        quantile("p90", 0.9),
        quantile("p99", 0.99),
        quantile("p99.9", 0.999),
        quantile("p99.99", 0.9999),
        ("max", "ms", Box::new(|(_, times)| digits(times.max_ms()))),
    ];
    let what = "Messages of all plateaus; everything else of the whole run.";
    html! { @if !rows.is_empty() { (table("Times", what, &columns, &rows)) } }
}

fn run(report: &Report) -> Markup {
    let host = &report.host;
    let limit = |limit: Option<u64>| limit.map_or("without limit".into(), |n| digits(n as f64));
    let memlock = host.memlock_bytes.map_or("without limit".into(), |n| Unit::Bytes.show(n as f64));
    let mut rows = vec![
        ("began", report.began.clone()),
        ("command", format!("ringgate {}", report.command.join(" "))),
        ("stages", report.stages.clone()),
        ("processes of the load", report.processes.to_string()),
        ("processor", format!("{}, {} cores", host.cpu, host.cores)),
        ("memory", Unit::Bytes.show(host.memory_bytes as f64)),
        ("kernel", format!("Linux {}", host.kernel)),
        ("descriptors, soft", limit(host.nofile_soft)),
        ("descriptors, hard", limit(host.nofile_hard)),
        ("lockable memory", memlock),
    ];
    rows.extend(host.sysctls.iter().map(|(name, value)| (name.as_str(), value.clone())));
    html! {
        section.run {
            h2 { "Run, machine and limits" }
            div.wide { table { tbody {
                @for (name, value) in rows { tr { th scope="row" { (name) } td { (value) } } }
            } } }
            p { a #save { "Save this report as JSON" } }
        }
    }
}

fn pairs(title: &str, rows: &[(String, String)]) -> Markup {
    html! {
        section {
            h2 { (title) }
            table { tbody {
                @for (name, value) in rows { tr { th scope="row" { (name) } td { (value) } } }
            } }
        }
    }
}

fn table<R>(title: &str, what: &str, columns: &[Column<'_, R>], rows: &[R]) -> Markup {
    html! {
        section {
            h2 { (title) }
            p { (what) }
            // Wider than a narrow window: scrolls by itself, also by the keyboard.
            div.wide tabindex="0" role="region" aria-label=(title) { table {
                thead { tr {
                    @for (name, unit, _) in columns {
                        th scope="col" { (name) @if !unit.is_empty() { br; span.unit { (unit) } } }
                    }
                } }
                tbody {
                    @for row in rows {
                        tr { @for (_, _, show) in columns { td { (show(row)) } } }
                    }
                }
            } }
        }
    }
}
