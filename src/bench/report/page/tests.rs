//! What gets into the page, and what does not.

use super::*;
use crate::bench::{
    cost::model::{Cost, Fit, Memory, Point},
    report::{Figure, Moment, plateau::Plateau},
};

const HOSTILE: &str =
    "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>";

/// One that says something hostile wherever a text can come from.
fn hostile() -> Report {
    let texts = || [(HOSTILE.to_owned(), 7)].into();
    let mut times = crate::bench::tally::Times::default();
    times.record(5_000_000);
    let mut report = Report {
        profile: HOSTILE.to_owned(),
        began: HOSTILE.to_owned(),
        command: vec![HOSTILE.to_owned()],
        server: HOSTILE.to_owned(),
        stages: HOSTILE.to_owned(),
        failures: texts(),
        counts: texts(),
        times: [(HOSTILE.to_owned(), times)].into(),
        figures: vec![Figure { name: HOSTILE.into(), value: 1.0, unit: HOSTILE.into() }],
        invalid: vec![HOSTILE.to_owned()],
        cost: Some(Cost { unread: vec![HOSTILE.to_owned()], ..Cost::default() }),
        ..Report::default()
    };
    report.host.ringgate = HOSTILE.to_owned();
    report.host.commit = Some(HOSTILE.to_owned());
    report.host.cpu = HOSTILE.to_owned();
    report.host.kernel = HOSTILE.to_owned();
    report.host.sysctls = vec![(HOSTILE.to_owned(), HOSTILE.to_owned())];
    report
}

#[test]
fn what_a_server_says_is_text_and_never_markup() {
    let page = page(&hostile());
    assert_eq!(page.matches("<script").count(), 4, "the page's own");
    assert_eq!(page.matches("</script").count(), 4);
    assert_eq!(page.matches("<img").count(), 0);
    assert!(page.contains("&lt;script&gt;document.title="), "in the tables");
    assert!(page.contains("\\u003cscript>document.title="), "in the JSON");
}

#[test]
fn the_page_loads_nothing_and_lets_no_other_script_run() {
    let [page, again] = [page(&Report::default()), page(&Report::default())];
    let nonce = |page: &str| page.split_once("'nonce-").expect("a nonce").1[..32].to_owned();
    assert_ne!(nonce(&page), nonce(&again));
    assert!(page.contains("default-src 'none'"));
    let own = format!("<script nonce=\"{}\">", nonce(&page));
    assert_eq!(page.matches(&own).count(), 2);
    assert_eq!(page.matches(" src=").count(), 0, "nothing is fetched");
}

#[test]
fn the_report_can_be_had_back_from_the_page() {
    let report = hostile();
    let page = page(&report);
    let (_, rest) = page.split_once(r#"id="report">"#).expect("the report");
    let (json, _) = rest.split_once("</script>").expect("its end");
    let mut read: Report = serde_json::from_str(json).expect("a report");
    // Times are of the same three digits, and not always the same to the last one.
    read.times.clone_from(&report.times);
    assert_eq!(read, report);
}

#[test]
fn invalid_and_interrupted_are_told_before_everything_else() {
    let sound = page(&Report::default());
    assert!(!sound.contains("INVALID") && !sound.contains("Interrupted"));
    let mut report = Report { interrupted: true, ..Report::default() };
    report.invalid.push("the load fell behind".to_owned());
    let page = page(&report);
    let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("no {text:?}"));
    assert!(place("INVALID") < place("the load fell behind"));
    assert!(place("the load fell behind") < place("<main>"));
    assert!(place("Interrupted") < place("<main>"));
}

#[test]
fn figures_stand_in_tiles_tables_and_words() {
    let plateau = Plateau {
        users: 2_000,
        open_least: 1_999,
        received: 40_000,
        received_per_second: 4_000.0,
        server_us_per_message: Some(7.5),
        ..Plateau::default()
    };
    let memory = Memory { tcp_bytes: 5_000_000.0, ..Memory::default() };
    let fit = Fit { cpu_us_per_message: Some(7.25), ..Fit::default() };
    let report = Report {
        plateaus: vec![plateau],
        slices: vec![Moment { at_s: 1.0, open: 5, ..Moment::default() }],
        cost: Some(Cost {
            points: vec![Point { connections: 2_000, memory, ..Point::default() }],
            fit: Some(fit),
            unread: vec!["slabinfo: not root".to_owned()],
        }),
        ..Report::default()
    };
    let page = page(&report);
    for part in [
        "at 2,000 users",
        "<td>1,999</td>",
        "4,000/s",
        "7.50 µs",
        "<td>2,500</td>",
        "7.25 µs",
        "not read: slabinfo: not root",
        "Connections: open from 5 to 5; wanted from 0 to 0",
    ] {
        assert!(page.contains(part), "{part:?}");
    }
}
