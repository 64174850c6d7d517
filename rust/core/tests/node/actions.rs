//! Every action twice, every action late, every action in every role.

use std::time::Duration;

use dstk_core::node::{KeyspaceRoutes, Node, Outcome, Refusal, RoutesUpdate};
use dstk_core::partition::{Code, Op, PartitionState, Role};

use super::harness::*;

type Act = fn(&Node, u64) -> Result<(), Refusal>;

/// Each action on partition `p`, given the epoch of the one held.
const ACTIONS: [(&str, Act); 11] = [
    ("serve", |node, epoch| {
        node.serve(KS, "p", epoch, KEY_LENGTH, b"", b"", false, 0)
            .map(drop)
    }),
    ("follow", |node, epoch| {
        node.follow(
            KS, "p", epoch, KEY_LENGTH, b"", b"", "z", "z:1", "z/1", false, 0, 0,
        )
        .map(drop)
    }),
    ("fence", |node, epoch| {
        node.fence(KS, "p", epoch, 1, 0).map(drop)
    }),
    ("unfence", |node, epoch| {
        node.unfence(KS, "p", epoch, 1, 0).map(drop)
    }),
    ("await_applied", |node, epoch| {
        node.await_applied(KS, "p", epoch, 0, Duration::ZERO)
            .map(drop)
    }),
    ("promote", |node, epoch| {
        node.promote(KS, "p", epoch, 0, 0, 0).map(drop)
    }),
    ("proxy", |node, epoch| {
        node.proxy(KS, "p", epoch, "z", "z:1", 0).map(drop)
    }),
    ("release", |node, epoch| node.release(KS, "p", epoch)),
    ("drop", |node, epoch| node.drop_partition(KS, "p", epoch)),
    ("split", |node, epoch| {
        node.split(KS, "p", epoch, epoch + 1, &[b"m"], &["l", "r"], &clock)
            .map(drop)
    }),
    ("merge", |node, epoch| {
        node.merge(
            KS,
            &[("p", epoch), ("q", epoch)],
            "w",
            epoch + 1,
            b"",
            b"",
            &clock,
        )
        .map(drop)
    }),
];

/// `p` in each role, at epoch 5; where others have a part in it, `q` is beside it.
fn in_role(role: Role) -> std::sync::Arc<Node> {
    let node = node("a");
    match role {
        Role::Primary => {
            _ = node
                .serve(KS, "p", 5, KEY_LENGTH, b"", b"", false, 0)
                .unwrap()
        }
        Role::Loading => _ = follow(&node, "p", 5, b"", b"", &primary("z")),
        Role::Following => {
            let source = self::node("z");
            source
                .serve(KS, "p", 5, KEY_LENGTH, b"", b"", false, 0)
                .unwrap();
            let spec = follow(&node, "p", 5, b"", b"", &source);
            Stream::open(&source, &node, &spec).unwrap();
        }
        Role::Proxy => {
            node.serve(KS, "p", 4, KEY_LENGTH, b"", b"", false, 0)
                .unwrap();
            node.proxy(KS, "p", 5, "z", "z:1", 0).unwrap();
        }
        Role::Disconnected => {}
    }
    node
}

fn kind(result: &Result<(), Refusal>) -> &'static str {
    match result {
        Ok(()) => "ok",
        Err(Refusal::Stale(_)) => "stale",
        Err(Refusal::NotHere(_)) => "not here",
        Err(Refusal::WrongRole(_)) => "wrong role",
        Err(Refusal::NotReady(_)) => "not ready",
        Err(Refusal::Invalid(_)) => "invalid",
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn an_action_of_an_older_epoch_is_stale_in_every_role_and_changes_nothing() {
    for role in [Role::Primary, Role::Loading, Role::Following, Role::Proxy] {
        let node = in_role(role);
        let before = state(&node, "p");
        for (name, act) in ACTIONS {
            if name == "merge" {
                continue; // its parts' epochs are in a test of their own
            }
            assert_eq!(kind(&act(&node, 4)), "stale", "{name} of a {role}");
        }
        assert_eq!(state(&node, "p"), before);
    }
}

#[test]
fn what_each_action_answers_in_each_role() {
    // Epoch 5 in the first column of a role, 6 in the second: what is held is at 5.
    let table = [
        //                 primary                    loading                  proxy                     not held
        (
            "serve",
            [
                ["ok", "ok"],
                ["wrong role"; 2],
                ["wrong role"; 2],
                ["ok", "ok"],
            ],
        ),
        (
            "follow",
            [["wrong role"; 2], ["ok", "ok"], ["ok", "ok"], ["ok", "ok"]],
        ),
        (
            "fence",
            [
                ["ok", "not ready"],
                ["wrong role"; 2],
                ["wrong role"; 2],
                ["not here"; 2],
            ],
        ),
        (
            "unfence",
            [
                ["ok", "not ready"],
                ["wrong role"; 2],
                ["wrong role"; 2],
                ["not here"; 2],
            ],
        ),
        (
            "await_applied",
            [["ok", "ok"], ["ok", "ok"], ["ok", "ok"], ["not here"; 2]],
        ),
        (
            "promote",
            [
                ["ok", "wrong role"],
                ["stale", "not ready"],
                ["wrong role"; 2],
                ["not here"; 2],
            ],
        ),
        (
            "proxy",
            [
                ["wrong role", "ok"],
                ["wrong role"; 2],
                ["ok", "ok"],
                ["not here"; 2],
            ],
        ),
        (
            "release",
            [
                ["wrong role"; 2],
                ["wrong role"; 2],
                ["ok", "ok"],
                ["ok", "ok"],
            ],
        ),
        (
            "drop",
            [
                ["wrong role"; 2],
                ["ok", "ok"],
                ["wrong role"; 2],
                ["ok", "ok"],
            ],
        ),
        (
            "split",
            [
                ["ok", "not ready"],
                ["wrong role"; 2],
                ["wrong role"; 2],
                ["not here"; 2],
            ],
        ),
        (
            "merge",
            [
                ["not here"; 2],
                ["not here"; 2],
                ["not here"; 2],
                ["not here"; 2],
            ],
        ),
    ];
    for (name, columns) in table {
        let act = ACTIONS.iter().find(|(other, _)| *other == name).unwrap().1;
        let roles = [
            Role::Primary,
            Role::Loading,
            Role::Proxy,
            Role::Disconnected,
        ];
        for (role, expected) in roles.into_iter().zip(columns) {
            for (epoch, expected) in [5, 6].into_iter().zip(expected) {
                let node = in_role(role);
                assert_eq!(
                    kind(&act(&node, epoch)),
                    expected,
                    "{name} at {epoch} of a {role}"
                );
            }
        }
    }
}

#[test]
fn a_repeated_action_answers_the_same_and_changes_nothing() {
    let (a, b) = (primary("a"), node("b"));
    put(&a, 1, "one");
    let twice = |act: &dyn Fn() -> PartitionState| {
        let first = act();
        assert_eq!(act(), first);
        first
    };
    twice(&|| a.serve(KS, "p", 1, KEY_LENGTH, b"", b"", false, 0).unwrap());
    twice(&|| a.serve(KS, "p", 2, KEY_LENGTH, b"", b"", false, 0).unwrap());
    let spec = follow(&b, "p", 2, b"", b"", &a);
    let again = b
        .follow(
            KS, "p", 2, KEY_LENGTH, b"", b"", "a", "a:1", "a/1", false, 0, 0,
        )
        .unwrap();
    assert_eq!(again.start, None, "it runs already");
    let mut stream = Stream::open(&a, &b, &spec).unwrap();
    let fenced = a.fence(KS, "p", 2, 2, 0).unwrap();
    twice(&|| a.unfence(KS, "p", 2, 2, 0).unwrap());
    a.fence(KS, "p", 2, 3, 0).unwrap();
    stream.drain().unwrap();
    twice(&|| {
        b.await_applied(KS, "p", 2, fenced.sequence, Duration::ZERO)
            .unwrap()
    });
    twice(&|| {
        b.promote(KS, "p", 3, fenced.sequence, fenced.digest, 0)
            .unwrap()
    });
    put(&b, 2, "two");
    let later = b
        .promote(KS, "p", 3, fenced.sequence, fenced.digest, 0)
        .unwrap();
    assert_eq!(
        (later.role, later.rows),
        (Role::Primary, 2),
        "it has gone on since"
    );
    twice(&|| a.proxy(KS, "p", 3, "b", "b:1", 0).unwrap());
    for _ in 0..2 {
        a.release(KS, "p", 3).unwrap();
    }
    follow(&a, "p", 3, b"", b"", &b);
    for _ in 0..2 {
        a.drop_partition(KS, "p", 3).unwrap();
    }
    let split = || {
        b.split(KS, "p", 3, 4, &[b"m"], &["l", "r"], &clock)
            .unwrap()
    };
    assert_eq!(split(), split());
    let merge = || {
        b.merge(KS, &[("l", 4), ("r", 4)], "w", 5, b"", b"", &clock)
            .unwrap()
    };
    assert_eq!(merge(), merge());
    let gone = split();
    assert!(
        gone.iter().all(|child| child.role == Role::Disconnected),
        "{gone:?}"
    );
}

#[test]
fn a_split_shares_the_rows_out_and_keeps_the_sequence() {
    let node = primary("a");
    for number in 1..=9 {
        put(&node, number, "x");
    }
    let children = node
        .split(KS, "p", 1, 2, &[&key(4), &key(8)], &["l", "m", "r"], &clock)
        .unwrap();
    let facts: Vec<_> = children
        .iter()
        .map(|c| (&*c.partition, c.rows, c.sequence, c.epoch, c.role))
        .collect();
    let expected = [
        ("l", 3, 9, 2, Role::Primary),
        ("m", 4, 9, 2, Role::Primary),
        ("r", 2, 9, 2, Role::Primary),
    ];
    assert_eq!(facts, expected);
    assert_eq!(put(&node, 5, "y").version, 10);
    assert_eq!(put(&node, 1, "y").version, 10);
    let whole = node
        .merge(
            KS,
            &[("l", 2), ("m", 2), ("r", 2)],
            "w",
            3,
            b"",
            b"",
            &clock,
        )
        .unwrap();
    assert_eq!(
        (whole.rows, whole.sequence),
        (9, 11),
        "above all of its parts"
    );
    assert_eq!(text(&get(&node, 5)), Some("y"));
}

#[test]
fn a_split_that_makes_no_sense_is_refused() {
    let node = primary("a");
    node.serve("other", "q", 1, KEY_LENGTH, b"", b"", false, 0)
        .unwrap();
    let split =
        |keys: &[&[u8]], names: &[&str], epoch| node.split(KS, "p", 1, epoch, keys, names, &clock);
    let invalid = [
        split(&[], &["l"], 2),
        split(&[b"m"], &["l"], 2),
        split(&[b"m"], &["l", "l"], 2),
        split(&[b"m"], &["l", ""], 2),
        split(&[b"m"], &["p", "r"], 2),
        split(&[b""], &["l", "r"], 2),
        split(&[b"mmm"], &["l", "r"], 2),
        split(&[b"m", b"m"], &["l", "m", "r"], 2),
        split(&[b"m", b"c"], &["l", "m", "r"], 2),
        split(&[b"m"], &["l", "r"], 1),
    ];
    for result in invalid {
        assert!(matches!(result, Err(Refusal::Invalid(_))), "{result:?}");
    }
    node.fence(KS, "p", 1, 4, 0).unwrap();
    assert!(matches!(
        split(&[b"m"], &["l", "r"], 2),
        Err(Refusal::WrongRole(_))
    ));
}

#[test]
fn a_merge_may_span_a_gap_that_nobody_holds_and_nothing_else() {
    let node = node("a");
    let serve = |name, start: &[u8], end: &[u8]| {
        _ = node
            .serve(KS, name, 1, KEY_LENGTH, start, end, false, 0)
            .unwrap()
    };
    serve("l", b"a", b"c");
    serve("m", b"f", b"h");
    serve("r", b"k", b"o");
    let merge = |parts: &[(&str, u64)], epoch, start: &[u8], end: &[u8]| {
        node.merge(KS, parts, "w", epoch, start, end, &clock)
    };
    let between = merge(&[("l", 1), ("r", 1)], 2, b"a", b"o").unwrap_err();
    assert!(
        between
            .to_string()
            .contains("partition m with [f, h) lies between"),
        "{between}"
    );
    let all = [("l", 1), ("m", 1), ("r", 1)];
    for result in [
        merge(&[("l", 1)], 2, b"a", b"c"),
        merge(&[("m", 1), ("l", 1)], 2, b"a", b"h"),
        merge(&all, 2, b"a", b"p"),
        merge(&all, 2, b"a", b""),
        merge(&all, 1, b"a", b"o"),
    ] {
        assert!(matches!(result, Err(Refusal::Invalid(_))), "{result:?}");
    }
    assert!(matches!(
        merge(&[("l", 0), ("m", 1), ("r", 1)], 2, b"a", b"o"),
        Err(Refusal::Stale(_))
    ));
    assert!(matches!(
        merge(&[("l", 2), ("m", 1), ("r", 1)], 3, b"a", b"o"),
        Err(Refusal::NotReady(_))
    ));
    let whole = merge(&all, 2, b"a", b"o").unwrap();
    assert_eq!(
        (whole.bounds.to_string().as_str(), whole.epoch),
        ("[a, o)", 2)
    );
    assert_eq!(node.states(None, 0).unwrap().len(), 1);
}

#[test]
fn a_range_that_overlaps_another_is_refused_by_its_name() {
    let node = node("a");
    node.serve(KS, "p", 1, KEY_LENGTH, b"a", b"m", false, 0)
        .unwrap();
    let overlap = node
        .serve(KS, "q", 1, KEY_LENGTH, b"c", b"", false, 0)
        .unwrap_err();
    assert!(
        matches!(&overlap, Refusal::WrongRole(text) if text.contains("overlaps p, primary here with [a, m)"))
    );
    let other = node
        .serve(KS, "p", 2, KEY_LENGTH, b"a", b"n", false, 0)
        .unwrap_err();
    assert!(
        matches!(&other, Refusal::Invalid(text) if text.contains("covers [a, m) here")),
        "{other}"
    );
    let length = node.serve(KS, "r", 1, 3, b"x", b"", false, 0).unwrap_err();
    assert!(
        matches!(&length, Refusal::Invalid(text) if text.contains("keys of 2 bytes, not 3")),
        "{length}"
    );
    assert!(matches!(
        node.serve(KS, "r", 1, KEY_LENGTH, b"z", b"y", false, 0),
        Err(Refusal::Invalid(_))
    ));
}

#[test]
fn loads_tell_what_was_done_and_where_the_middle_is() {
    let node = primary("a");
    for number in 0..10 {
        put(&node, number, "12345678");
    }
    let load = node.loads(10 * SECOND).remove(0);
    assert_eq!(
        (load.rows, load.bytes, load.median_key.as_deref()),
        (10, 100, Some(&key(5)[..]))
    );
    assert!(
        (load.operations_per_second - 0.5).abs() < 1e-6,
        "half of 1/s after one half-life: {load:?}"
    );
    node.split(KS, "p", 1, 2, &[&key(5)], &["l", "r"], &|| 10 * SECOND)
        .unwrap();
    let halves: Vec<_> = node
        .loads(10 * SECOND)
        .iter()
        .map(|load| load.operations_per_second)
        .collect();
    assert_eq!(halves, [load.operations_per_second / 2.0; 2]);
    let puts = |node: &Node| {
        node.counters()
            .into_iter()
            .find(|(name, _)| *name == "puts_total")
            .unwrap()
            .1
    };
    assert_eq!(puts(&node), 10, "counts survive the partition");
}

#[test]
fn a_range_that_lost_its_rows_gives_out_no_version_again() {
    let lost = primary("a");
    let before: Vec<_> = (0..10).map(|_| put(&lost, 1, "old").version).collect();
    let next = node("b");
    next.serve(KS, "p", 2, KEY_LENGTH, b"", b"", false, 0)
        .unwrap();
    let after: Vec<_> = (0..10).map(|_| put(&next, 1, "new").version).collect();
    assert!(before.iter().max() < after.iter().min());
    let stale = done(write(&next, 1, "by a condition of before", before[9] + 1));
    assert_eq!(stale.code, Code::VersionMismatch);
    // However often, and in any later epoch.
    let last = node("c");
    let state = last
        .serve(KS, "p", u64::MAX, KEY_LENGTH, b"", b"", false, 0)
        .unwrap();
    assert!(state.sequence > after[9]);
    assert_eq!(put(&last, 1, "newest").version, state.sequence + 1);
}

#[test]
fn a_serve_that_comes_late_is_refused_until_the_partition_is_forgotten() {
    let (a, b) = (primary("a"), node("b"));
    let (fenced, _stream) = drained(&a, &b);
    b.promote(KS, "p", 2, fenced.sequence, fenced.digest, 0)
        .unwrap();
    a.proxy(KS, "p", 2, "b", "b:1", 0).unwrap();
    a.release(KS, "p", 2).unwrap();
    let serve = |epoch| a.serve(KS, "p", epoch, KEY_LENGTH, b"", b"", false, 0);
    assert!(matches!(serve(1), Err(Refusal::Stale(_))));
    assert!(matches!(serve(2), Err(Refusal::Stale(_))));
    // The routes no longer know it: it was deleted, and may be made anew.
    a.apply_routes(&RoutesUpdate {
        full: true,
        keyspaces: vec![KeyspaceRoutes {
            keyspace: KS.into(),
            key_length: KEY_LENGTH,
            routes: Vec::new(),
            withdrawn: Vec::new(),
            losses: None,
        }],
        workers: Vec::new(),
    })
    .unwrap();
    assert_eq!(serve(1).unwrap().epoch, 1);
}

#[test]
fn a_worker_that_hears_nobody_stops_serving_and_goes_on_only_when_it_is_told() {
    let a = primary("a");
    a.renew(95, 96);
    a.set_lease(KS, KEY_LENGTH, 10).unwrap();
    a.renew(100, 105);
    let get = |now| get_at(&a, now);
    assert!(matches!(get(109), Outcome::Done(_)));
    assert!(matches!(get(111), Outcome::NotHere), "{:?}", get(111));
    // What ran out stays fenced, though somebody is heard again.
    a.renew(120, 121);
    assert!(matches!(get(122), Outcome::Parked));
    let fenced = state(&a, "p");
    assert!(fenced.fenced);
    a.unfence(KS, "p", 1, fenced.fence_token, 122).unwrap();
    assert!(matches!(get(123), Outcome::Done(_)));
    assert_eq!(a.lapses(), 1);
}

#[test]
fn what_was_told_before_anybody_was_known_to_hear_has_to_be_told_again() {
    let a = primary("a");
    a.set_lease(KS, KEY_LENGTH, 10).unwrap();
    assert!(matches!(get_at(&a, 1), Outcome::NotHere));
    assert_eq!(a.lapse(50), 0);
    // It may have been given to another worker meanwhile.
    a.renew(100, 101);
    assert!(matches!(get_at(&a, 102), Outcome::Parked));
    a.unfence(KS, "p", 1, state(&a, "p").fence_token, 103)
        .unwrap();
    assert!(matches!(get_at(&a, 104), Outcome::Done(_)));
}

fn get_at(node: &Node, now: u64) -> Outcome {
    let key = key(1);
    let store = node.keyspace(KS).unwrap();
    store.execute(Op::Get { key: &key }, now, || Box::new(Nobody))
}

struct Nobody;

impl dstk_core::partition::Waiter for Nobody {
    fn resume(self: Box<Self>, _: dstk_core::partition::Verdict) {}
}
