//! ▢ Why a result would mislead: a load that fell behind, lost count, or had no processor left.
//!
//! A server that does badly is no reason: that is what a report is for.

use super::{Report, plateau::Plateau};
use crate::bench::{storm, tasks, zombies};

/// Share of messages that may leave over 10 ms after their time.
const LATE_SHARE_MAX: f64 = 0.01;
/// Processor time of one process of the load, past which it measures itself. One core is 1.
const LOAD_CORES_MAX: f64 = 0.95;
/// Share of the users that may be missing on a plateau while none has failed.
const ABSENT_SHARE_MAX: f64 = 0.01;

/// Everything that speaks against the report's figures, for people.
pub fn objections(report: &Report) -> Vec<String> {
    let mut found = of_load(report);
    found.extend(unreconciled(report));
    found.extend(of_profile(report));
    if report.totals.withheld > 0 {
        found.push(format!(
            "{} messages were not sent: too many of their connection had no answer yet",
            report.totals.withheld
        ));
    }
    if report.plateaus.is_empty() && !report.interrupted {
        found.push(format!(
            "no stage of constant users is long enough to measure anything: --stages {}",
            report.stages
        ));
    }
    found
}

/// What speaks against the load as such, whatever the server did.
pub fn of_load(report: &Report) -> Vec<String> {
    let mut found: Vec<String> = report.plateaus.iter().filter_map(saturated).collect();
    found.extend(report.plateaus.iter().filter_map(late));
    found.extend(report.plateaus.iter().filter_map(|plateau| absent(plateau, report)));
    found
}

/// What only one profile can suffer from.
fn of_profile(report: &Report) -> Vec<String> {
    let count = |name: &str| report.counts.get(name).copied().unwrap_or(0);
    let mut found = Vec::new();
    match report.profile.as_str() {
        "storm" => {
            let dropped = report.counts.iter().filter(|(name, _)| name.starts_with(storm::DROPPED));
            let dropped: u64 = dropped.map(|(_, count)| count).sum();
            let failed: u64 = report.failures.values().sum();
            let away = count(storm::AWAY);
            // Where some were not let in before, it is a storm of the others.
            if away > failed || (away > 0 && dropped == 0) {
                found.push(format!(
                    "{away} users had no connection when everyone was to drop theirs: give the \
                     ramp more time, or --every-seconds"
                ));
            }
            let trying = count(storm::TRYING);
            if trying > 0 && !report.interrupted {
                found.push(format!(
                    "{trying} users were still trying to come back when the run ended: give the \
                     stage more time after the storm"
                ));
            }
            if count(storm::BUSY) > 0 {
                found.push(
                    "a process of the load had no processor left until its users were back: it \
                     measured itself; use --processes on more --cores, or fewer users"
                        .to_owned(),
                );
            }
        }
        "zombies" if count(zombies::VANISHED) == 0 && !report.interrupted => {
            found.push("nobody was there to vanish".to_owned());
        }
        "tasks" if report.totals.sent > 0 && report.totals.received == 0 => found.push(
            "no chunk had a result: does a worker read the queue of that route? --worker-redis \
             starts one"
                .to_owned(),
        ),
        _ => {}
    }
    found
}

fn saturated(plateau: &Plateau) -> Option<String> {
    (plateau.load_cores > LOAD_CORES_MAX).then(|| {
        format!(
            "with {} users a process of the load used {:.0} % of its core: it measured itself; \
             use --processes on more --cores, or fewer messages",
            plateau.users,
            plateau.load_cores * 100.0
        )
    })
}

fn late(plateau: &Plateau) -> Option<String> {
    let share = plateau.late as f64 / plateau.sent.max(1) as f64;
    (share > LATE_SHARE_MAX).then(|| {
        format!(
            "with {} users {:.1} % of the messages left over 10 ms after their time: the load \
             fell behind; use --processes on more --cores, or fewer messages",
            plateau.users,
            share * 100.0
        )
    })
}

/// Users who never came about although nobody refused them: the ramp was too short.
fn absent(plateau: &Plateau, report: &Report) -> Option<String> {
    let absent = plateau.users.saturating_sub(plateau.open_least);
    // Those who stay away, or are sent away, by what the profile is for.
    if matches!(report.profile.as_str(), "storm" | "zombies") {
        return None;
    }
    let done = report.counts.get(tasks::DONE).copied().unwrap_or(0);
    let failed: u64 = report.failures.values().sum::<u64>() + done;
    let allowed = (plateau.users as f64 * ABSENT_SHARE_MAX) as u64 + failed;
    (absent > allowed).then(|| {
        format!(
            "only {} of {} users were there when their number should have been constant: give \
             the ramp before it more time",
            plateau.open_least, plateau.users
        )
    })
}

/// Every message that was due came, was lost with its connection or told as lost, or the count is
/// wrong.
fn unreconciled(report: &Report) -> Option<String> {
    let totals = &report.totals;
    let settled = totals.received.saturating_add(totals.lost).saturating_add(totals.told);
    (totals.expected > settled).then(|| {
        format!(
            "{} of {} messages that were due have not come although their connections are open",
            totals.expected - settled,
            totals.expected
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::Totals;

    fn good() -> Report {
        let plateau = Plateau {
            users: 100,
            open_least: 100,
            sent: 1000,
            received: 1000,
            ..Plateau::default()
        };
        Report {
            plateaus: vec![plateau],
            totals: Totals { sent: 1000, expected: 1000, received: 1000, ..Totals::default() },
            ..Report::default()
        }
    }

    fn objection(spoil: impl FnOnce(&mut Report)) -> Vec<String> {
        let mut report = good();
        spoil(&mut report);
        objections(&report)
    }

    #[test]
    fn a_good_run_is_valid() {
        assert_eq!(objection(|_| {}), [""; 0]);
        // A server that refuses and drops is told, and no fault of the load.
        let bad_server = objection(|report| {
            report.failures.insert("refused with HTTP 503".into(), 40);
            report.plateaus[0].open_least = 60;
            let totals = &mut report.totals;
            (totals.received, totals.lost, totals.told) = (800, 150, 50);
        });
        assert_eq!(bad_server, [""; 0]);
    }

    #[test]
    fn each_profile_has_its_own() {
        let said = |profile: &str, count: &str, word: &str| {
            let said = objection(|report| {
                report.profile = profile.to_owned();
                report.counts.insert(count.to_owned(), 1);
                report.totals.received = 0;
                report.totals.lost = 1000;
            });
            assert!(said.len() == 1 && said[0].contains(word), "{word}: {said:?}");
        };
        said("storm", storm::AWAY, "had no connection");
        said("storm", storm::TRYING, "still trying");
        said("storm", storm::BUSY, "measured itself");
        said("zombies", "", "nobody was there");
        said("tasks", "", "does a worker");
        let by_design = |profile: &str, count: &str| {
            objection(|report| {
                report.profile = profile.to_owned();
                report.counts.insert(count.to_owned(), 100);
                report.plateaus[0].open_least = 0;
            })
        };
        assert_eq!(by_design("storm", ""), [""; 0]);
        assert_eq!(by_design("zombies", zombies::VANISHED), [""; 0]);
        assert_eq!(by_design("tasks", tasks::DONE), [""; 0]);
        assert_eq!(by_design("echo", "").len(), 1);
    }

    #[test]
    fn each_fault_of_the_load_is_named() {
        let said = |spoil: fn(&mut Report), word: &str| {
            let said = objection(spoil);
            assert!(said.len() == 1 && said[0].contains(word), "{word}: {said:?}");
        };
        said(|report| report.plateaus[0].load_cores = 0.99, "measured itself");
        said(|report| report.plateaus[0].late = 20, "fell behind");
        said(|report| report.plateaus[0].open_least = 90, "only 90 of 100");
        said(|report| report.totals.received = 990, "10 of 1000");
        said(|report| report.totals.withheld = 1, "not sent");
        said(|report| report.plateaus.clear(), "long enough");
    }
}
