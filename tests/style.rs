//! The style rules that matter and that no other tool checks, as tests over the sources.
//!
//! Each rule is a function from one file to what it finds wrong, so that a test here also shows
//! that the rule can fail.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The most lines of a source file that is not among [`LONG_FILES`].
const LINES_MAX: usize = 500;

/// Files that may be longer, each with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Files that may lock, each with what for; all are off the data path.
const MAY_LOCK: &[(&str, &str)] = &[
    ("src/admin/mod.rs", "the configuration that it shows"),
    ("src/broker/embedded/thread.rs", "the handle of its thread"),
    ("src/gateway.rs", "the configuration that the admin port shows"),
    ("src/gateway/reload.rs", "the same, which a reload replaces"),
    ("src/metrics/mod.rs", "why the broker is down, for /readyz"),
];

/// Faults of the system that is replaced: docs/faults.md.
const FAULTS: usize = 16;

/// What stands for work that is not done. Written in two parts, for this file is checked as well.
const UNFINISHED: [&str; 3] =
    [concat!("to", "do!"), concat!("unimple", "mented!"), concat!("#[ig", "nore")];

/// A source file: its path from the project's root, and its text.
struct Source {
    path: String,
    text: String,
}

/// What is wrong with a file, one line each.
type Rule = fn(&Source) -> Vec<String>;

#[test]
fn unsafe_stands_in_the_ring_only() {
    assert_kept(unsafe_outside_the_ring, &sources(&["src"]));
}

#[test]
fn glommio_is_named_in_rt_only() {
    assert_kept(glommio_outside_rt, &sources(&["src"]));
}

#[test]
fn nothing_is_left_unfinished_or_ignored() {
    assert_kept(unfinished, &sources(&["src", "tests", "benches"]));
}

#[test]
fn every_file_says_what_it_is_for() {
    assert_kept(no_module_docs, &sources(&["src", "tests", "benches"]));
}

#[test]
fn files_stay_short() {
    assert_kept(too_long, &sources(&["src", "tests", "benches"]));
}

#[test]
fn the_list_of_long_files_is_true() {
    for (path, reason) in LONG_FILES {
        let text = read(&root().join(path));
        assert!(!reason.is_empty(), "{path} is listed without a reason");
        assert!(text.lines().count() > LINES_MAX, "{path} is short by now: take it off the list");
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let manifests = ["Cargo.toml", "benches/peers/Cargo.toml"]
        .map(|path| Source { path: path.into(), text: read(&root().join(path)) });
    assert_kept(unexplained_dependencies, &manifests);
}

#[test]
fn fault_4_nothing_is_locked_by_hand_nor_on_the_data_path() {
    assert_kept(locks, &sources(&["src"]));
}

/// Each of the sixteen faults of the system that is replaced has a test of its name, and
/// docs/faults.md names every one of them and no other.
#[test]
fn every_fault_has_its_test() {
    let sources = sources(&["src", "tests"]);
    let tests: BTreeSet<&str> = sources.iter().flat_map(|source| fault_tests(source)).collect();
    for fault in 1..=FAULTS {
        let start = format!("fault_{fault}_");
        assert!(tests.iter().any(|name| name.starts_with(&start)), "no test for fault {fault}");
    }
    let text = read(&root().join("docs/faults.md"));
    let listed: BTreeSet<&str> =
        text.split('`').filter(|word| word.starts_with("fault_")).collect();
    assert_eq!(listed, tests, "docs/faults.md against the tests");
}

#[test]
fn each_rule_finds_what_it_forbids() {
    let long = "//! Long.\n".repeat(LINES_MAX + 1);
    let cases: [(Rule, &str, &str); 10] = [
        (locks, "src/shard/mod.rs", "use std::sync::Mutex;"),
        (locks, "src/gateway.rs", "libc::pthread_mutex_unlock(lock);"),
        (unsafe_outside_the_ring, "src/ws/mask.rs", "unsafe { read(p) }"),
        (unsafe_outside_the_ring, "src/lib.rs", "#![allow(unsafe_code)]"),
        (glommio_outside_rt, "src/shard/mod.rs", "use glommio::Task; // spawn"),
        (unfinished, "src/lib.rs", UNFINISHED[0]),
        (unfinished, "tests/a.rs", UNFINISHED[2]),
        (no_module_docs, "src/lib.rs", "use std::io;"),
        (too_long, "src/lib.rs", &long),
        (unexplained_dependencies, "Cargo.toml", "[dependencies]\n# Why.\na = \"1\"\nb = \"1\"\n"),
    ];
    for (rule, path, text) in cases {
        let found = rule(&Source { path: path.into(), text: text.into() });
        assert_eq!(found.len(), 1, "{path}: {text:.60}: {found:?}");
    }
    let innocent: [(Rule, &str, &str); 5] = [
        (locks, "src/gateway.rs", "text: Mutex<String>,"),
        (unsafe_outside_the_ring, "src/ring/mod.rs", "unsafe { read(p) }"),
        (unsafe_outside_the_ring, "src/ws/mod.rs", "// unsafe would pay nothing here"),
        (glommio_outside_rt, "src/lib.rs", "//! `rt` is the only file that names glommio"),
        (unexplained_dependencies, "Cargo.toml", "[package]\nname = \"a\"\n"),
    ];
    for (rule, path, text) in innocent {
        let found = rule(&Source { path: path.into(), text: text.into() });
        assert!(found.is_empty(), "{path}: {found:?}");
    }
}

fn unsafe_outside_the_ring(source: &Source) -> Vec<String> {
    if source.path.starts_with("src/ring/") {
        return Vec::new();
    }
    lines_with(source, |code| {
        // The one that is a word of HTTP's Content-Security-Policy.
        let code = code.replace("'unsafe-inline'", "");
        has_word(&code, "unsafe") || has_word(&code, "unsafe_code")
    })
}

fn glommio_outside_rt(source: &Source) -> Vec<String> {
    if source.path == "src/rt.rs" {
        return Vec::new();
    }
    lines_with(source, |code| code.contains("glommio"))
}

/// A guard unlocks once, by being dropped; what unlocks by hand can do it twice.
fn locks(source: &Source) -> Vec<String> {
    let is_test = source.path.ends_with("tests.rs") || source.path.contains("/tests/");
    let may_lock = is_test || MAY_LOCK.iter().any(|(path, _)| *path == source.path);
    let by_hand = ["pthread_", "raw_unlock", "force_unlock"];
    lines_with(source, |code| {
        let locks = ["Mutex", "RwLock", "Condvar"].iter().any(|word| has_word(code, word));
        (locks && !may_lock) || by_hand.iter().any(|call| code.contains(call))
    })
}

/// Names of the tests in a file that are named after a fault.
fn fault_tests(source: &Source) -> Vec<&str> {
    let mut above = "";
    let mut found = Vec::new();
    for line in source.text.lines().map(str::trim) {
        let name = line.strip_prefix("fn ").filter(|name| name.starts_with("fault_"));
        if let Some(name) = name.and_then(|name| name.split('(').next())
            && above == "#[test]"
        {
            found.push(name);
        }
        above = line;
    }
    found.retain(|name| name[6..].starts_with(|first: char| first.is_ascii_digit()));
    found
}

fn unfinished(source: &Source) -> Vec<String> {
    lines_with(source, |code| UNFINISHED.iter().any(|mark| code.contains(mark)))
}

fn no_module_docs(source: &Source) -> Vec<String> {
    if source.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![format!("{}: does not begin with a //! doc", source.path)]
}

fn too_long(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    if lines <= LINES_MAX || LONG_FILES.iter().any(|(path, _)| *path == source.path) {
        return Vec::new();
    }
    vec![format!("{}: {lines} lines, and {LINES_MAX} is the most", source.path)]
}

fn unexplained_dependencies(manifest: &Source) -> Vec<String> {
    let mut section = "";
    let mut above = "";
    let mut found = Vec::new();
    for line in manifest.text.lines() {
        if line.starts_with('[') {
            section = line;
        }
        let is_key = line.starts_with(|first: char| first.is_ascii_alphanumeric());
        if section.ends_with("dependencies]") && is_key && !above.starts_with("# ") {
            found.push(format!("{}: no reason above: {line}", manifest.path));
        }
        above = line;
    }
    found
}

/// The lines whose code, comments taken off, is `wrong`.
fn lines_with(source: &Source, wrong: impl Fn(&str) -> bool) -> Vec<String> {
    let numbered = source.text.lines().enumerate();
    numbered
        .filter(|(_, line)| wrong(without_comment(line)))
        .map(|(index, line)| format!("{}:{}: {}", source.path, index + 1, line.trim()))
        .collect()
}

/// A line up to its `//`, unless that is part of an address such as `redis://`.
fn without_comment(line: &str) -> &str {
    let mut slashes = line.match_indices("//").map(|(index, _)| index);
    let comment = slashes.find(|index| !line[..*index].ends_with(':'));
    &line[..comment.unwrap_or(line.len())]
}

fn has_word(code: &str, word: &str) -> bool {
    code.split(|letter: char| !(letter.is_alphanumeric() || letter == '_')).any(|part| part == word)
}

fn assert_kept(rule: Rule, sources: &[Source]) {
    assert!(!sources.is_empty(), "there is nothing to check");
    let found: Vec<String> = sources.iter().flat_map(rule).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.expect("a folder entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).expect("a path in the project");
                found.push(Source { path: name.display().to_string(), text: read(&path) });
            }
        }
    }
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
