//! Tells the program which commit it is built from, for the reports of `ringgate bench`.

use std::{path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Only what is measured needs it: a development build would be made anew after each commit.
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return;
    }
    // The commit when a source was last changed: one that changes none would build the same.
    let head = git(&["rev-parse", "--git-path", "HEAD"]).filter(|path| Path::new(path).exists());
    for path in ["src", "Cargo.toml"].into_iter().chain(head.as_deref()) {
        println!("cargo::rerun-if-changed={path}");
    }
    if let Some(commit) = git(&["describe", "--always", "--dirty", "--abbrev=12"]) {
        println!("cargo::rustc-env=RINGGATE_COMMIT={commit}");
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| output.status.success() && !text.is_empty())
}
