//! What perf and the metrics say, and this process counted.

use super::*;

#[test]
fn perf_says_how_many() {
    let one = "Events disabled\nEvents enabled\nEvents disabled\n\
               53053,,raw_syscalls:sys_enter,18137641,100.00,,\n";
    assert_eq!(counted(one), Ok(53_053));
    assert_eq!(counted("<not counted>,,raw_syscalls:sys_enter,0,100.00,,"), Ok(0));
    for text in ["", "Events enabled", "<not supported>,,raw_syscalls:sys_enter,0,0.00,,"] {
        assert!(counted(text).is_err(), "{text:?}");
    }
}

#[test]
fn enters_of_all_shards_are_summed() {
    let text = "# TYPE ringgate_ring_enters counter\n\
                ringgate_ring_enters_total{shard=\"0\"} 17179869180\n\
                ringgate_ring_enters_total{shard=\"1\"} 4\nringgate_ring_parks_total 5\n";
    assert_eq!(sum_of_enters(text), Some(17_179_869_184));
    for text in ["", "ringgate_ring_parks_total 5", "ringgate_ring_enters_total x"] {
        assert_eq!(sum_of_enters(text), None, "{text:?}");
    }
}

#[test]
fn a_part_stands_for_the_whole() {
    let counted = Counted { calls: 300, window: Duration::from_secs(2), enters_only: false };
    assert_eq!((counted.over(10.0), counted.over(0.0)), (1_500, 0));
    assert_eq!(Counted { window: Duration::ZERO, calls: 0, ..counted }.over(1.0), 0);
    assert_eq!(counted.doubt(), None);
}

/// Where perf may count, it counts this process; where it may not, the reason names it.
#[test]
fn this_process_is_counted_or_it_is_said_why_not() {
    match SystemCalls::start(&[std::process::id()], None) {
        Ok(count) => {
            let before = Instant::now();
            for _ in 0..5_000 {
                let _ = std::fs::metadata("/");
            }
            let took = before.elapsed();
            let counted = count.count().expect("a count");
            assert!((5_000..500_000).contains(&counted.calls), "{counted:?}");
            assert!(counted.window >= took && counted.window < took + PATIENCE, "{counted:?}");
        }
        Err(why) => assert!(why.contains("perf: "), "{why}"),
    }
}

#[test]
fn nobody_to_count_is_an_error() {
    let nobody = [i32::MAX as u32];
    let why = SystemCalls::start(&nobody, None).unwrap_err();
    assert!(why.contains("perf: "), "{why}");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).unwrap();
    let why = SystemCalls::start(&nobody, Some(closed)).unwrap_err();
    assert!(why.contains("perf: ") && why.contains(&closed.to_string()), "{why}");
}
