//! The page of a report in a real browser: it opens without errors, its plots are drawn, and what
//! a server said stays text. And `ringgate bench compare` as its users meet it.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use ringgate::bench::{
    cost::model::{Cost, Fit, Line, Memory, Point},
    report::{FORMAT, Moment, Report, plateau::Plateau},
};
use tempfile::TempDir;

/// What a server may have answered with.
const HOSTILE: &str =
    "</script><script>console.error('taken')</script><img src=x onerror=console.error('too')>";
/// Of the plots that a report with everything has.
const PLOTS: usize = 7;
/// Narrower than that, a plot is of no use.
const PLOT_WIDTH_MIN: u32 = 300;
/// At the end of the page, after its own script: says how many pixels of each plot are drawn.
const LOOK: &str = "document.querySelectorAll('.plot').forEach(plot => {
    const canvas = plot.querySelector('canvas');
    const {width, height} = canvas;
    const {data} = canvas.getContext('2d').getImageData(0, 0, width, height);
    let drawn = 0;
    for (let at = 3; at < data.length; at += 4) drawn += data[at] > 0;
    const seen = document.createElement('p');
    seen.textContent = `seen ${plot.id} ${width} ${height} ${drawn}`;
    document.body.append(seen);
  })";

/// With something for every plot, and something hostile in it.
fn report() -> Report {
    let moment = |nth: u32| {
        let (time, users) = (f64::from(nth + 1) * 0.1, u64::from(nth.min(20)) * 50);
        Moment {
            at_s: time,
            wanted: users,
            open: users,
            sent_per_second: users as f64,
            received_per_second: users as f64,
            latency_p50_ms: (nth > 0).then_some(0.2 + time / 50.0),
            latency_p99_ms: (nth > 0).then_some(2.0 + time),
            server_cores: Some(0.3),
            server_resident_bytes: Some(20 << 20),
            load_cores: 0.2,
        }
    };
    let plateau = Plateau {
        users: 1_000,
        open_least: 1_000,
        from_s: 3.0,
        seconds: 3.0,
        sent: 3_000,
        received: 3_000,
        received_per_second: 1_000.0,
        latency_p50_ms: 0.3,
        latency_p99_ms: 6.0,
        server_us_per_message: Some(9.5),
        ..Plateau::default()
    };
    let point = |connections: u64| {
        let each = connections as f64;
        let memory =
            Memory { user_bytes: each * 98.0, tcp_bytes: each * 2_521.0, ..Memory::default() };
        Point { connections, memory, ..Point::default() }
    };
    let line = |slope| Line { fixed: 0.0, slope, r_squared: 1.0 };
    let fit = Fit { user_bytes: line(98.0), kernel_bytes: line(2_521.0), ..Fit::default() };
    let mut report = Report {
        format: FORMAT,
        profile: "echo".to_owned(),
        server: "ws://127.0.0.1:8080/echo".to_owned(),
        failures: [(HOSTILE.to_owned(), 3)].into(),
        invalid: vec![HOSTILE.to_owned()],
        slices: (0..60).map(moment).collect(),
        plateaus: vec![plateau],
        cost: Some(Cost {
            points: [250, 500, 1_000].map(point).into(),
            fit: Some(fit),
            unread: Vec::new(),
        }),
        ..Report::default()
    };
    (1..=20_000).for_each(|us| report.latency.record(us * 1_000));
    let opening = report.latency.clone();
    // A name of the profile's own is shown in a legend.
    report.times.insert(HOSTILE.to_owned(), opening);
    report
}

/// The page after its scripts have run, and what the browser said meanwhile.
fn opened(page: &Path, profile: &Path) -> (String, String) {
    let browser = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--disable-dev-shm-usage", "--enable-logging=stderr", "--v=0"])
        .args(["--window-size=1280,1600", "--virtual-time-budget=3000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}", page.display()))
        .stdin(Stdio::null())
        .output();
    let output = browser.unwrap_or_else(|error| {
        panic!("chromium: {error}; install it with: apt-get install chromium")
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (dom, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "chromium {}: {said}", output.status);
    (dom, said)
}

/// What its console had; Chromium logs more, of itself.
fn console(said: &str) -> Vec<&str> {
    said.lines().filter(|line| line.contains(":CONSOLE")).collect()
}

fn ringgate(args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringgate"));
    let output = command.args(args).env_clear().stdin(Stdio::null()).output().expect("runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("not killed"), text(output.stdout), text(output.stderr))
}

/// A saved report in a folder of its own, and its path.
fn saved(folder: &TempDir, name: &str, report: &Report) -> String {
    let path = folder.path().join(name).display().to_string();
    fs::write(&path, serde_json::to_string(report).expect("JSON")).expect("a file");
    path
}

#[test]
fn a_browser_draws_the_page_and_finds_nothing_wrong() {
    let folder = TempDir::new().expect("a folder");
    let out = folder.path().join("page.html");
    let json = saved(&folder, "report.json", &report());
    let made = ringgate(&["bench", "html", &json, &out.display().to_string()]);
    assert_eq!(made, (0, String::new(), String::new()));
    let page = fs::read_to_string(&out).expect("the page");
    // The page lets only its own scripts run, so the look has to be one of them.
    let (_, nonce) = page.split_once("<script nonce=\"").expect("a script");
    let look = format!("<script nonce=\"{}\">{LOOK}</script></body>", &nonce[..32]);
    fs::write(&out, page.replacen("</body>", &look, 1)).expect("a file");

    let (dom, said) = opened(&out, &folder.path().join("profile"));
    assert_eq!(console(&said), [""; 0], "{said}");
    assert!(dom.contains(&format!("data-drawn=\"{PLOTS}\"")), "{dom:.300}");
    let seen: Vec<Vec<&str>> = dom
        .split("<p>seen ")
        .skip(1)
        .map(|rest| rest.split('<').next().unwrap_or_default().split(' ').collect())
        .collect();
    assert_eq!(seen.len(), PLOTS, "{seen:?}");
    for plot in &seen {
        let numbers: Vec<u32> = plot[1..].iter().map(|text| text.parse().expect("one")).collect();
        let [width, height, drawn] = numbers[..] else { panic!("{plot:?}") };
        assert!(width >= PLOT_WIDTH_MIN && height >= PLOT_WIDTH_MIN / 2, "{plot:?}");
        // More than axes alone would be, less than a blot.
        assert!((width * height / 100..width * height).contains(&drawn), "{plot:?}");
    }
}

/// Without the escaping of the page nothing else would stop this one: its policy is taken out.
#[test]
fn what_a_server_said_runs_in_no_browser() {
    let folder = TempDir::new().expect("a folder");
    let out = folder.path().join("page.html");
    let page = ringgate::bench::report::page::page(&report());
    let (head, rest) = page.split_once("<meta http-equiv=").expect("the policy");
    let (_, rest) = rest.split_once('>').expect("its end");
    fs::write(&out, format!("{head}{rest}")).expect("a file");
    let (dom, said) = opened(&out, &folder.path().join("profile"));
    assert_eq!(console(&said), [""; 0], "{said}");
    assert!(dom.contains("&lt;img src=x"), "it is there as text");
    // And the console is where it would be told.
    fs::write(&out, format!("<p>{HOSTILE}")).expect("a file");
    let (_, said) = opened(&out, &folder.path().join("again"));
    assert!(console(&said).iter().any(|line| line.contains("taken")), "{said}");
}

#[test]
fn two_saved_reports_are_compared() {
    let folder = TempDir::new().expect("a folder");
    let a = saved(&folder, "a.json", &report());
    let mut other = report();
    other.profile = "idle".to_owned();
    other.plateaus[0].server_us_per_message = Some(19.0);
    other.slices.iter_mut().for_each(|slice| slice.server_cores = Some(0.6));
    let b = saved(&folder, "b.json", &other);
    let (code, out, error) = ringgate(&["bench", "compare", &a, &b]);
    assert_eq!((code, error.as_str()), (0, ""));
    for part in ["warning: profile: A echo, B idle", "1000 users", "2.000", "B worse", "noise: "] {
        assert!(out.contains(part), "{part:?} is not in {out}");
    }
    let (code, out, _) = ringgate(&["bench", "compare", &a, &b, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let figures = json["groups"][0]["figures"].as_array().expect("figures");
    let cost = figures.iter().find(|figure| figure["name"] == "server, us/message");
    assert_eq!((code, &cost.expect("one")["verdict"]), (0, &"worse".into()));
}

#[test]
fn what_is_no_report_of_this_format_is_refused() {
    let folder = TempDir::new().expect("a folder");
    let good = saved(&folder, "good.json", &report());
    let newer = saved(&folder, "newer.json", &Report { format: FORMAT + 1, ..report() });
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name).display().to_string();
        fs::write(&path, text).expect("a file");
        path
    };
    let versions = format!("its format is {}, and this version reads {FORMAT}", FORMAT + 1);
    for (bad, why) in [
        (newer, versions.as_str()),
        (file("text.json", "hello"), "it is no report of `ringgate bench`"),
        (file("other.json", "{}"), "it has no \"format\""),
        (file("short.json", "{\"format\":1}"), "a report of format 1: missing field"),
        (folder.path().join("none.json").display().to_string(), "No such file"),
    ] {
        for args in [&["bench", "compare", &good, &bad][..], &["bench", "html", &bad, "/dev/null"]]
        {
            let (code, out, error) = ringgate(args);
            assert_eq!((code, out.as_str()), (2, ""), "{error}");
            assert!(error.contains(&bad) && error.contains(why), "{error}");
        }
    }
    let (code, ..) = ringgate(&["bench", "compare", &good]);
    assert_eq!(code, 2);
}
