//! ▢ A report as one HTML page with plots, which needs nothing else: no network, no other file.
//!
//! Names and texts of failures come from servers that nobody has to trust. The templates escape
//! all that they are given; what the script is given is JSON without a `<`, which it shows as text
//! only; and the page's policy lets no other script run and loads nothing.
//!
//! | part | what it is |
//! |---|---|
//! | `plots` ▢ | what the plots show |
//! | `tables` ▢ | the figures |
//! | `page.js`, `page.css` | draw any plot, with uPlot (assets/uplot); how the page looks |

mod plots;
mod tables;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::Serialize;
use uuid::Uuid;

use super::{
    Report,
    amount::{Unit, digits},
};
use plots::{Plot, plots};

const PLOTTER: &str = include_str!("../../../../assets/uplot/uPlot.iife.min.js");
const PLOTTER_STYLE: &str = include_str!("../../../../assets/uplot/uPlot.min.css");
const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");

/// The whole page.
pub fn page(report: &Report) -> String {
    // Of its own each time: a script that got into the page could not know it.
    let nonce = Uuid::new_v4().simple().to_string();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         img-src data:; base-uri 'none'; form-action 'none'"
    );
    let plots = plots(report);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content={ "ringgate " (report.host.ringgate) };
                title { (report.profile) " of " (report.server) " — ringgate bench" }
                // Or a browser asks whoever serves the page for one.
                link rel="icon" href="data:,";
                style nonce=(nonce) { (PreEscaped(PLOTTER_STYLE)) (PreEscaped(STYLE)) }
            }
            body {
                (header(report))
                main {
                    (tiles(report))
                    (figures(&plots))
                    (tables::tables(report))
                }
                script type="application/json" id="plots" { (json(&plots)) }
                script type="application/json" id="report" { (json(report)) }
                script nonce=(nonce) { (PreEscaped(PLOTTER)) }
                script nonce=(nonce) { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// JSON that can stand in a script: a `<` in it can end none, nor begin a comment.
fn json(value: &impl Serialize) -> PreEscaped<String> {
    let text = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
    PreEscaped(text.replace('<', "\\u003c"))
}

fn header(report: &Report) -> Markup {
    let host = &report.host;
    let commit = host.commit.as_deref().unwrap_or("no commit known");
    let optimised = if host.optimised { "" } else { ", not optimised" };
    html! {
        header {
            p.product { "ringgate bench" }
            h1 { (report.profile) span.of { " of " } span.server { (report.server) } }
            p.facts {
                (report.began) " · " (digits(report.seconds)) " s · " (host.cpu) ", "
                (host.cores) " cores · Linux " (host.kernel) " · ringgate " (host.ringgate)
                " (" (commit) (optimised) ")"
            }
            @if !report.invalid.is_empty() {
                section.invalid role="alert" aria-label="The result is invalid" {
                    h2 { "INVALID" }
                    p { "These figures would mislead:" }
                    ul { @for why in &report.invalid { li { (why) } } }
                }
            }
            @if report.interrupted {
                p.interrupted role="note" {
                    strong { "Interrupted" }
                    " after " (digits(report.seconds)) " s of " (report.stages)
                    ": what was measured until then."
                }
            }
        }
    }
}

/// What most readers come for.
fn tiles(report: &Report) -> Markup {
    let mut tiles: Vec<(&str, String, String)> = Vec::new();
    if let Some(top) = report.plateaus.iter().max_by_key(|plateau| plateau.users) {
        let users = format!("at {} users", digits(top.users as f64));
        tiles.push(("connections, the fewest", digits(top.open_least as f64), users.clone()));
        if top.received > 0 {
            let rate = Unit::PerSecond.show(top.received_per_second);
            tiles.push(("messages received", rate, users.clone()));
        }
        if !report.latency.is_empty() {
            let ms = |ms| Unit::Milliseconds.show(ms);
            tiles.push(("latency p50", ms(top.latency_p50_ms), users.clone()));
            tiles.push(("latency p99", ms(top.latency_p99_ms), users.clone()));
        }
        if let Some(us) = top.server_us_per_message {
            tiles.push(("server, a message", Unit::Microseconds.show(us), users));
        }
    }
    if let Some(fit) = report.cost.as_ref().and_then(|cost| cost.fit) {
        let slope = fit.user_bytes.slope + fit.kernel_bytes.slope + fit.buffer_bytes.slope;
        let user = format!("{} of them user", Unit::Bytes.show(fit.user_bytes.slope));
        tiles.push(("memory, a connection", Unit::Bytes.show(slope), user));
    }
    html! {
        @if !tiles.is_empty() {
            dl.tiles {
                @for (name, value, context) in tiles {
                    div { dt { (name) } dd { (value) } dd.context { (context) } }
                }
            }
        }
    }
}

fn figures(plots: &[Plot]) -> Markup {
    html! {
        noscript { p { "The plots need scripts; the tables below have the figures." } }
        @if plots.iter().any(|plot| !plot.measured.is_empty()) {
            p.hint {
                "Shaded: the plateaus, which is what was measured. Drag to zoom, double-click to "
                "zoom out, click a name to hide its line."
            }
        }
        div.plots {
            @for plot in plots {
                figure {
                    figcaption { h2 { (plot.title) } p { (plot.caption) } }
                    div.plot id={ "plot-" (plot.id) } data-label=(summary(plot)) {}
                }
            }
        }
    }
}

/// A plot in words, for those who do not see it.
fn summary(plot: &Plot) -> String {
    let line = |line: &plots::Line| {
        let known = line.values.iter().flatten().copied();
        let least = known.clone().fold(f64::INFINITY, f64::min);
        let most = known.fold(f64::NEG_INFINITY, f64::max);
        format!("{} from {} to {}", line.label, plot.y.unit.show(least), plot.y.unit.show(most))
    };
    let lines: Vec<String> = plot.lines.iter().map(line).collect();
    format!("{}: {}", plot.title, lines.join("; "))
}

#[cfg(test)]
mod tests;
