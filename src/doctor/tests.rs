//! Hosts as trees of files: a good one, bad ones, and what a container shows.

mod hosts;
mod redis;
mod tree;

use self::tree::{CONNECTIONS, Tree};
use super::*;

impl Report {
    fn get(&self, name: &str) -> &Check {
        let found = self.checks.iter().find(|check| check.name == name);
        found.unwrap_or_else(|| panic!("no check {name} in {:#?}", self.checks))
    }

    /// Names of all that is not ok.
    fn complaints(&self) -> Vec<&str> {
        let bad = self.checks.iter().filter(|check| check.level > Level::Ok);
        bad.map(|check| check.name.as_str()).collect()
    }
}

impl Tree {
    fn report(&self) -> Report {
        self.report_with(&Ok(Vec::new()))
    }

    fn report_with(&self, ring: &io::Result<Vec<&'static str>>) -> Report {
        let host = self.host();
        let wanted = Wanted { connections: CONNECTIONS, shards: 2 };
        let question = Question { host: &host, wanted, cores: &[0, 1], redis: None };
        let report = examine_files(&question, ring);
        for check in &report.checks {
            assert!(!check.value.is_empty() && !check.wanted.is_empty(), "{check:?}");
            assert_eq!(check.fix.is_none(), check.level == Level::Ok, "{check:?}");
        }
        report
    }
}

#[test]
fn sizes_are_written_as_people_read_them() {
    let cases = [
        (0, "0 B"),
        (8192, "8192 B"),
        (10 << 10, "10 KiB"),
        (8 << 20, "8192 KiB"),
        (10 << 20, "10 MiB"),
        (24_103 << 20, "24 GiB"),
        (u64::MAX >> 1, "8589934592 GiB"),
    ];
    for (count, text) in cases {
        assert_eq!(bytes(count), text);
    }
}
