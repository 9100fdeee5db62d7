//! Growth as it was recorded, and growth of any kind.

use proptest::prelude::*;

use super::{super::slab::Aliases, *};

/// The caches of a connection: name, objects in a slab, pages of a slab.
const SHAPES: [(&str, u64, u64); 10] = [
    ("TCP", 13, 8),
    ("sock_inode_cache", 19, 4),
    ("filp", 21, 1),
    ("dentry", 21, 1),
    ("lsm_inode_cache", 128, 1),
    ("lsm_file_cache", 170, 1),
    ("io_kiocb", 16, 1),
    ("kmalloc-32", 128, 1),
    ("eventpoll_epi", 32, 1),
    ("eventpoll_pwq", 64, 1),
];

/// Objects before any connection, on a machine in use; in the order of the shapes.
const BEFORE: [u64; 10] = [118, 243, 630, 63_141, 85_792, 878, 208, 1_428, 311, 533];

fn slabs(objects: [u64; 10]) -> Slabs {
    let mut text = "slabinfo - version: 2.1\n".to_owned();
    for ((name, per_slab, pages), objects) in SHAPES.iter().zip(objects) {
        text += &format!("{name} {objects} {objects} 1 {per_slab} {pages} : tunables\n");
    }
    Slabs::parse(&text, 4096, &Aliases::default()).unwrap()
}

fn grown(by: [u64; 10]) -> Slabs {
    slabs(std::array::from_fn(|n| BEFORE[n] + by[n]))
}

fn each(memory: &Memory, connections: f64) -> [i64; 6] {
    let Memory { tcp_bytes, socket_inode_bytes, file_bytes, dentry_bytes, .. } = *memory;
    let kernel = [tcp_bytes, socket_inode_bytes, file_bytes, dentry_bytes];
    let all =
        [kernel[0], kernel[1], kernel[2], kernel[3], memory.io_uring_bytes, memory.epoll_bytes];
    all.map(|bytes| (bytes / connections).round() as i64)
}

/// 15,000 connections of the gateway and of a load that has neither ring nor epoll; somebody
/// listed `/proc/PID/fd` meanwhile (one more dentry each), and `tcp_bind_bucket` stands in the
/// cache of `eventpoll_epi`.
#[test]
fn a_recorded_ring_server_is_charged_with_its_own() {
    let n = 15_000;
    let now = grown([2 * n, 2 * n, 30_009, 45_012, 45_032, 29_730, n, n, 29_387, 12]);
    let memory =
        of_server(&slabs(BEFORE), &now, n, Ends::Both { load_kiocb_per_connection: 0.0 }, None);
    assert_eq!(each(&memory, n as f64), [2521, 894, 219, 195, 288, 0]);
    assert_eq!(disturbed(&slabs(BEFORE), &now, n, Ends::FLEET), None);
}

#[test]
fn the_load_on_a_ring_is_taken_off() {
    let n = 10_000;
    // The last 40 requests are those that the rings keep for the next operation.
    let both = grown([2 * n, 2 * n, 2 * n, 2 * n, 2 * n, 2 * n, 2 * n + 40, 2 * n, 2 * n, 0]);
    let memory = of_server(&slabs(BEFORE), &both, n, Ends::FLEET, None);
    assert_eq!(each(&memory, n as f64), [2521, 894, 219, 195, 289, 0]);
    // A server on epoll: one request and one node a connection are the load's.
    let epoll = grown([2 * n, 2 * n, 2 * n, 2 * n, 2 * n, 2 * n, n + 40, n, 3 * n, n]);
    let memory = of_server(&slabs(BEFORE), &epoll, n, Ends::FLEET, None);
    assert_eq!(each(&memory, n as f64), [2521, 894, 219, 195, 0, 192]);
}

/// Every client spoke at once, and the load's ring keeps a request for each.
#[test]
fn what_a_ring_keeps_for_later_is_not_the_servers() {
    let n = 10_000;
    let now = grown([2 * n, 2 * n, 2 * n, 2 * n, 2 * n, 2 * n, 3 * n, 2 * n, 2 * n, 3 * n]);
    let says = WaitsPerConnection { polls: 1.0, descriptors: 1.0, epoll_items: 0.0 };
    let memory = of_server(&slabs(BEFORE), &now, n, Ends::FLEET, Some(says));
    assert_eq!(each(&memory, n as f64), [2521, 894, 219, 195, 288, 0]);
    let guessed = of_server(&slabs(BEFORE), &now, n, Ends::FLEET, None);
    assert_eq!(each(&guessed, n as f64)[4..], [544, 384]);
    // What the caches have not got nobody has.
    let none = of_server(&slabs(BEFORE), &slabs(BEFORE), n, Ends::FLEET, Some(says));
    assert_eq!(none, Memory::default());
}

#[test]
fn others_sockets_are_told() {
    let (before, now) = (slabs(BEFORE), grown([4_000; 10]));
    assert_eq!(disturbed(&before, &now, 2_000, Ends::FLEET), None);
    let told = disturbed(&before, &now, 1_000, Ends::FLEET).expect("told");
    assert!(told.contains("4000 sockets") && told.contains("2000"), "{told}");
    assert!(disturbed(&now, &before, 0, Ends::Server).is_some(), "they went");
    assert_eq!(disturbed(&before, &now, 4_000, Ends::Server), None);
}

#[test]
fn missing_caches_are_named() {
    let empty = Slabs::default();
    assert_eq!(missing(&empty).count(), NEEDED.len());
    assert_eq!(missing(&slabs(BEFORE)).count(), 0);
    assert_eq!(of_server(&empty, &empty, 1_000, Ends::Server, None), Memory::default());
}

proptest! {
    /// Whatever others do to the caches, nothing is negative and nothing is no number; and the
    /// server has no more of what both ends fill than if all were its own.
    #[test]
    fn shares_are_bounded(
        before in prop::array::uniform10(0u64..1 << 40),
        now in prop::array::uniform10(0u64..1 << 40),
        connections in 0u64..1 << 24,
        load in 0.0..3.0,
        says in prop::option::of((0.0..3.0, 0.0..3.0, 0.0..3.0)),
    ) {
        let says = says.map(|(polls, descriptors, epoll_items)| {
            WaitsPerConnection { polls, descriptors, epoll_items }
        });
        let (before, now) = (slabs(before), slabs(now));
        let ends = Ends::Both { load_kiocb_per_connection: load };
        let shared = each(&of_server(&before, &now, connections, ends, says), 1.0);
        let whole = each(&of_server(&before, &now, connections, Ends::Server, says), 1.0);
        for (shared, whole) in shared.into_iter().zip(whole) {
            prop_assert!((0..=whole).contains(&shared));
        }
    }
}
