//! One session of a tasks route, message by message.

use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;

fn job(chunks: u32, chunk_ms: Option<u64>, in_flight: u32) -> Job {
    Job {
        chunks,
        bytes: 3,
        chunk_ns: chunk_ms.map(|ms| ms * MS),
        in_flight,
        patience_ns: 10_000 * MS,
        per_connection: None,
        per_user: None,
    }
}

fn session(job: &Job) -> Session {
    Session::new("s".to_owned(), job, 0)
}

fn said(session: &mut Session, fields: &str, now_ms: u64) -> Heard {
    session.hear(format!(r#"{{"session_id":"s",{fields}}}"#).as_bytes(), now_ms * MS)
}

const STARTED: &str = r#""type":"ack","chunk_index":0,"status":"session_started""#;

fn ack(index: u32) -> String {
    format!(r#""type":"ack","chunk_index":{index},"status":"received""#)
}

fn result(index: u32) -> String {
    format!(r#""type":"chunk_result","chunk_index":{index},"text":"t""#)
}

fn next(index: u32, due_ms: u64) -> Next {
    Next { index, due_ns: due_ms * MS, is_held: false }
}

/// A session whose chunks are all sent and that is finishing.
fn finishing(chunks: u32) -> Session {
    let mut session = session(&job(chunks, None, chunks));
    assert_eq!(said(&mut session, STARTED, 1), Heard::Started { took_ns: MS });
    while session.next_chunk(MS).is_some() {}
    assert!(session.finish(2 * MS) && !session.finish(2 * MS));
    session
}

#[test]
fn paced_chunks_have_their_time_whatever_became_of_the_others() {
    let mut session = session(&job(3, Some(100), 1));
    assert_eq!(session.next_chunk(50 * MS), None, "not before the ack of the start");
    said(&mut session, STARTED, 50);
    assert_eq!(session.next_chunk(50 * MS), Some(next(0, 50)));
    assert_eq!((session.next_chunk(149 * MS), session.next_ns()), (None, 150 * MS));
    // A client that was held up sends both that are due, each with the time it had.
    assert_eq!(session.next_chunk(900 * MS), Some(next(1, 150)));
    assert_eq!(session.next_chunk(900 * MS), Some(next(2, 250)));
    assert_eq!(session.next_chunk(900 * MS), None);
    assert!(session.finish(900 * MS));
    assert_eq!(said(&mut session, &result(1), 1_000), Heard::Result { took_ns: 850 * MS });
}

proptest! {
    /// However many are wanted and may be in flight, in whatever order they are answered.
    #[test]
    fn unpaced_chunks_leave_as_there_is_room(
        chunks in 1..40_u32, in_flight in 1..10_u32, order in prop::collection::vec(any::<usize>(), 40),
    ) {
        let mut session = session(&job(chunks, None, in_flight));
        said(&mut session, STARTED, 0);
        let (mut open, mut sent, mut turns) = (Vec::new(), 0, order.into_iter());
        let mut has_finished = false;
        loop {
            while let Some(Next { index, .. }) = session.next_chunk(0) {
                prop_assert_eq!(index, sent);
                sent += 1;
                open.push(index);
            }
            has_finished |= session.finish(0);
            prop_assert!(open.len() <= in_flight as usize);
            if open.is_empty() {
                break;
            }
            let index = open.swap_remove(turns.next().expect("an answer each") % open.len());
            prop_assert_eq!(said(&mut session, &ack(index), 1), Heard::Acked { took_ns: MS });
            prop_assert_eq!(said(&mut session, &result(index), 1), Heard::Result { took_ns: MS });
        }
        prop_assert!(has_finished);
        prop_assert_eq!((sent, session.unanswered()), (chunks, 0));
        let last = said(&mut session, r#""type":"final_result","complete":true"#, 5);
        prop_assert_eq!(last, Heard::Final { took_ns: 5 * MS, outcome: Outcome::Complete });
    }

    #[test]
    fn no_message_of_a_server_panics(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut session = finishing(2);
        prop_assert_eq!(session.hear(&bytes, 0), Heard::Odd);
    }
}

/// Fault 15 of the system that is replaced: sessions with parts missing counted as good.
#[test]
fn what_is_missing_makes_a_session_partial() {
    let outcome = |spoil: &[&str], last: &str| {
        let mut session = finishing(2);
        for index in [0, 1] {
            for message in [ack(index), result(index)] {
                let given = spoil.iter().find_map(|word| {
                    let (place, instead) = word.split_once("->")?;
                    (message.contains(place) && message.contains("\"chunk_index\":1"))
                        .then(|| instead.to_owned())
                });
                let message = given.unwrap_or(message);
                if !message.is_empty() {
                    said(&mut session, &message, 3);
                }
            }
        }
        match said(&mut session, last, 4) {
            Heard::Final { outcome, .. } => outcome,
            other => panic!("{other:?}"),
        }
    };
    let last = r#""type":"final_result","complete":true"#;
    assert_eq!(outcome(&[], last), Outcome::Complete);
    assert_eq!(outcome(&[], r#""type":"final_result""#), Outcome::Complete, "an older server");
    assert_eq!(outcome(&[], r#""type":"final_result","complete":false"#), Outcome::Partial);
    assert_eq!(outcome(&["chunk_result->"], last), Outcome::Partial);
    assert_eq!(outcome(&["received->"], last), Outcome::Partial);
    let failed = r#"chunk_result->"type":"chunk_result","chunk_index":1,"error":"bad audio""#;
    assert_eq!(outcome(&[failed], last), Outcome::Partial);
    let rejected = r#"received->"type":"error","code":"busy","rejected_chunk":1"#;
    assert_eq!(outcome(&[rejected], last), Outcome::Partial);
}

#[test]
fn refusals_and_errors_are_told_apart() {
    let busy = r#""type":"error","code":"busy","message":"System busy""#;
    let mut fresh = session(&job(2, None, 2));
    assert_eq!(said(&mut fresh, busy, 1), Heard::Busy { why: "busy".to_owned() });
    let mut open = finishing(2);
    assert_eq!(said(&mut open, busy, 1), Heard::Error { why: "busy".to_owned() });
    let rejected = r#""type":"error","code":"busy","rejected_chunk":1"#;
    assert_eq!(said(&mut open, rejected, 1), Heard::Rejected { why: "busy".to_owned() });
    assert_eq!(open.unanswered(), 1);
    assert_eq!(said(&mut open, rejected, 1), Heard::Odd, "it was told already");
    assert_eq!(said(&mut open, &result(1), 1), Heard::Odd, "and cannot be answered");
    assert_eq!(said(&mut open, &result(7), 1), Heard::Odd, "there is no such chunk");
    let other = br#"{"type":"chunk_result","session_id":"another","chunk_index":0}"#;
    assert_eq!(open.hear(other, 1), Heard::Odd);
}

#[test]
fn a_session_that_is_shortened_ends_with_what_it_has() {
    let mut session = session(&job(100, Some(1_000), 1));
    said(&mut session, STARTED, 0);
    assert!(session.next_chunk(0).is_some() && !session.finish(0));
    session.shorten();
    assert!(session.next_chunk(u64::MAX).is_none() && session.finish(1));
    said(&mut session, &ack(0), 1);
    said(&mut session, &result(0), 1);
    let last = said(&mut session, r#""type":"final_result","complete":true"#, 1);
    assert!(matches!(last, Heard::Final { outcome: Outcome::Complete, .. }), "{last:?}");
}

/// A server that reads no more is not fed without end, and what waits for it is not late.
#[test]
fn chunks_without_an_ack_are_bounded() {
    let mut session = session(&job(5_000, Some(1), 1));
    said(&mut session, STARTED, 0);
    let far = 10_000 * MS;
    let sent: Vec<Next> = std::iter::from_fn(|| session.next_chunk(far)).collect();
    assert!(sent.len() as u64 == UNACKED_MAX && sent.iter().all(|next| !next.is_held));
    assert!(session.next_ns() == far, "nothing to do but to give up");
    said(&mut session, &ack(0), 10_000);
    let next = session.next_chunk(far).expect("there is room");
    assert_eq!((next.index, next.is_held), (1_024, true));
    assert_eq!(session.next_chunk(far), None);
}
