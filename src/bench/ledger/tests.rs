//! Whatever comes, is dropped, told or cut off: each message that was due is accounted for once.

use proptest::prelude::*;

use super::*;

const NAMES: Names = Names { missed: "missed", told: "told lost" };
const SECOND: u64 = 1_000_000_000;

/// Two topics, each once a second from 0 s on: T0 at 0, 1, 2…, T1 at 0.5, 1.5, 2.5…
fn beat() -> Beat {
    Beat::new(2, 1.0)
}

fn ledger(is_conflated: bool) -> (Ledger, Tally) {
    (Ledger::new(Some(beat()), is_conflated, NAMES), Tally::default())
}

fn sums(tally: &Tally) -> (u64, u64, u64, u64) {
    (tally.expected, tally.received, tally.lost, tally.told)
}

#[test]
fn what_is_due_from_the_confirmation_on_must_come() {
    let (mut ledger, mut tally) = ledger(false);
    // Between T1's first and T0's third: 2 of T0 and 2 of T1 were due before.
    ledger.subscribed(0, &[1, 0], SECOND + SECOND * 6 / 10);
    assert!(ledger.update(0, 0, 2, &mut tally), "it was under way, and may come");
    assert!(ledger.update(0, 0, 3, &mut tally));
    assert_eq!(sums(&tally), (2, 2, 0, 0));
    assert!(ledger.update(0, 1, 5, &mut tally), "numbers 3 and 4 are missing");
    assert_eq!(sums(&tally), (5, 3, 0, 0));
    assert!(!ledger.update(0, 1, 5, &mut tally) && !ledger.update(0, 1, 4, &mut tally));
    assert_eq!((sums(&tally), tally.wrong), ((5, 3, 0, 0), 2));
}

#[test]
fn what_nobody_subscribed_to_is_wrong_and_bounded() {
    let (mut ledger, mut tally) = ledger(false);
    ledger.subscribed(0, &[0], 0);
    assert!(!ledger.update(0, 1, 1, &mut tally), "a topic of somebody else");
    assert_eq!((sums(&tally), tally.wrong), ((0, 0, 0, 0), 1));
    // Without a confirmation nobody knows what the user has asked for.
    let made_up = (0..5_000).filter(|topic| ledger.update(1, *topic, 1, &mut tally)).count();
    assert_eq!((made_up, tally.wrong), (UNCONFIRMED_TOPICS_MAX, 1 + 5_000 - made_up as u64));
}

#[test]
fn the_tail_is_awaited_and_missed() {
    let (mut ledger, mut tally) = ledger(false);
    ledger.subscribed(0, &[0, 1], 0);
    ledger.subscribed(1, &[1], 0);
    assert_eq!(ledger.behind(), 1, "nobody knows yet how many there are");
    // T0 to its fourth number, T1 to its third.
    ledger.published(7);
    assert_eq!(ledger.behind(), 3);
    (1..=3).for_each(|nth| assert!(ledger.update(0, 1, nth, &mut tally)));
    // The first of T0 was due at the moment of the confirmation, and so need not come.
    ledger.update(0, 0, 3, &mut tally);
    assert_eq!(ledger.behind(), 2);
    ledger.lost(0, 0, Some(1));
    assert_eq!(ledger.behind(), 2, "the second is missing and told; the last is not here");
    ledger.gone(1, 10 * SECOND, &mut tally);
    assert_eq!((ledger.behind(), tally.lost), (1, 3));
    ledger.close(&mut tally);
    assert_eq!(sums(&tally), (3 + 2 + 3 + 1, 4, 3, 1));
}

#[test]
fn under_conflation_only_the_last_is_due() {
    let (mut ledger, mut tally) = ledger(true);
    ledger.subscribed(0, &[0, 1], 0);
    ledger.update(0, 0, 4, &mut tally);
    ledger.published(20);
    assert_eq!(ledger.behind(), 2);
    ledger.update(0, 0, 10, &mut tally);
    ledger.close(&mut tally);
    ledger.count_into(&mut tally);
    // Of T1 nothing came, not even the last.
    assert_eq!(sums(&tally), (3, 2, 0, 0));
    assert_eq!((tally.counts["conflated"], tally.counts["missed"]), (2 + 5, 1));
}

#[test]
fn without_a_beat_what_came_first_is_the_first() {
    let mut tally = Tally::default();
    let mut ledger = Ledger::new(None, false, NAMES);
    ledger.subscribed(0, &[7], 5 * SECOND);
    [40, 41, 44].iter().for_each(|nth| assert!(ledger.update(0, 7, *nth, &mut tally)));
    assert!(ledger.update(3, 9, 4, &mut tally), "nobody confirmed that one");
    assert_eq!((ledger.behind(), sums(&tally)), (0, (6, 4, 0, 0)));
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Comes,
    /// Dropped; told with the next one that comes, or at the end.
    Told,
    Vanishes,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![4 => Just(Fate::Comes), 2 => Just(Fate::Told), 1 => Just(Fate::Vanishes)]
}

proptest! {
    #[test]
    fn every_message_is_accounted_for_once(
        fates in prop::collection::vec(fate(), 1..40),
        ends_early in any::<bool>(),
    ) {
        let mut tally = Tally::default();
        let one = Beat::new(1, 1.0).beginning_at(SECOND);
        let mut ledger = Ledger::new(Some(one), false, NAMES);
        ledger.subscribed(0, &[0], 0);
        let (mut untold, mut told, mut vanished, mut came) = (0, 0, 0, 0);
        for (nth, fate) in fates.iter().enumerate() {
            match fate {
                Fate::Comes => {
                    if untold > 0 {
                        ledger.lost(0, 0, Some(std::mem::take(&mut untold)));
                    }
                    prop_assert!(ledger.update(0, 0, nth as u64 + 1, &mut tally));
                    came += 1;
                }
                Fate::Told => (untold, told) = (untold + 1, told + 1),
                Fate::Vanishes => vanished += 1,
            }
        }
        let all = fates.len() as u64;
        let tail = fates.iter().rev().take_while(|fate| !matches!(fate, Fate::Comes)).count() as u64;
        if ends_early {
            // Its last message is due a second before.
            ledger.gone(0, (all + 1) * SECOND, &mut tally);
            told -= untold;
            prop_assert_eq!(tally.lost, tail);
        } else {
            if untold > 0 {
                ledger.lost(0, 0, Some(untold));
            }
            ledger.published(all);
            ledger.close(&mut tally);
            let missing = tally.expected - tally.received - tally.lost - tally.told;
            prop_assert_eq!((missing, tally.lost), (vanished, 0));
        }
        prop_assert_eq!((tally.expected, tally.received, tally.told), (all, came, told));
        ledger.count_into(&mut tally);
        prop_assert!(!tally.counts.contains_key("told but came"));
    }
}
