//! Requests behind a fence: their order, their bounds, their end.

use dstk_core::node::{Node, Outcome, Scan, ScanOutcome, Settings};
use dstk_core::partition::{Code, Nanos, Op, Verdict};

use super::harness::*;

fn held_put(node: &Node, verdicts: &Verdicts, number: usize, text: &str, now: Nanos) -> Outcome {
    let op = Op::Put {
        key: &key(7),
        value: text.as_bytes().into(),
        condition: 0,
    };
    node.keyspace(KS)
        .unwrap()
        .execute(op, now, || verdicts.waiter(number))
}

#[test]
fn what_was_held_runs_in_order_when_the_fence_is_lifted() {
    let (node, verdicts) = (primary("a"), Verdicts::default());
    node.fence(KS, "p", 1, 1, 5 * SECOND).unwrap();
    for number in 0..10 {
        assert!(matches!(
            held_put(&node, &verdicts, number, &number.to_string(), 0),
            Outcome::Parked
        ));
    }
    let read = node
        .keyspace(KS)
        .unwrap()
        .execute(Op::Get { key: &key(7) }, 0, || verdicts.waiter(10));
    assert!(matches!(read, Outcome::Parked), "reads are held too");
    assert_eq!(state(&node, "p").held, 11);
    assert!(verdicts.take().is_empty());
    let lifted = node.unfence(KS, "p", 1, 1, 7 * SECOND).unwrap();
    assert_eq!(
        (lifted.held, lifted.last_pause, lifted.sequence),
        (0, 2 * SECOND, 10)
    );
    for (at, (number, verdict)) in verdicts.take().into_iter().enumerate() {
        let Verdict::Done(reply) = verdict else {
            panic!("{verdict:?}")
        };
        assert_eq!((number, reply.code), (at, Code::Ok));
        assert_eq!(reply.version, if at == 10 { 10 } else { at as u64 + 1 });
    }
    assert_eq!(text(&get(&node, 7)), Some("9"));
}

#[test]
fn what_was_held_is_passed_on_in_order_before_anything_later() {
    let (node, verdicts) = (primary("a"), Verdicts::default());
    node.fence(KS, "p", 1, 2, 0).unwrap();
    for number in 0..5 {
        held_put(&node, &verdicts, number, "x", 0);
    }
    node.proxy(KS, "p", 2, "b", "b:1", 0).unwrap();
    let passed_on = verdicts.take();
    assert_eq!(
        passed_on
            .iter()
            .map(|(number, _)| *number)
            .collect::<Vec<_>>(),
        [0, 1, 2, 3, 4]
    );
    for (_, verdict) in passed_on {
        let Verdict::Forward(target) = verdict else {
            panic!("{verdict:?}")
        };
        assert_eq!(
            (&*target.worker, &*target.address, target.epoch),
            ("b", "b:1", 2)
        );
    }
    let later = held_put(&node, &verdicts, 5, "x", 3 * SECOND);
    assert!(matches!(later, Outcome::Forward(target) if *target.worker == *"b"));
    assert_eq!(node.states(None, 5 * SECOND).unwrap()[0].quiet, 2 * SECOND);
}

#[test]
fn the_queue_is_bounded_in_requests_and_in_bytes() {
    let settings = Settings {
        hold_max_requests: 3,
        hold_max_bytes: 100,
        ..Settings::default()
    };
    let (node, verdicts) = (node_with("a", settings), Verdicts::default());
    node.serve(KS, "p", 1, KEY_LENGTH, b"", b"", false, 0)
        .unwrap();
    node.fence(KS, "p", 1, 3, 0).unwrap();
    let code = |outcome| match outcome {
        Outcome::Parked => None,
        outcome => Some(done(outcome).code),
    };
    assert_eq!(
        code(held_put(&node, &verdicts, 0, &"x".repeat(90), 0)),
        None
    );
    assert_eq!(
        code(held_put(&node, &verdicts, 1, &"x".repeat(90), 0)),
        Some(Code::Limit)
    );
    assert_eq!(code(held_put(&node, &verdicts, 2, "x", 0)), None);
    assert_eq!(code(held_put(&node, &verdicts, 3, "x", 0)), None);
    assert_eq!(
        code(held_put(&node, &verdicts, 4, "x", 0)),
        Some(Code::Limit)
    );
    assert_eq!(node.refuse_held("stopping"), 3);
    assert_eq!(
        code(held_put(&node, &verdicts, 5, &"x".repeat(90), 0)),
        None,
        "there is room again"
    );
}

#[test]
fn a_request_held_too_long_is_refused_and_was_not_applied() {
    let settings = Settings {
        hold_seconds: 2.0,
        ..Settings::default()
    };
    let (node, verdicts) = (node_with("a", settings), Verdicts::default());
    node.serve(KS, "p", 1, KEY_LENGTH, b"", b"", false, 0)
        .unwrap();
    node.fence(KS, "p", 1, 4, 0).unwrap();
    held_put(&node, &verdicts, 0, "early", SECOND);
    held_put(&node, &verdicts, 1, "late", 2 * SECOND);
    assert_eq!(node.expire_held(SECOND), 0);
    assert_eq!(node.expire_held(3 * SECOND - 1), 0);
    assert_eq!(node.expire_held(3 * SECOND), 1);
    let refused = verdicts.take();
    assert!(
        matches!(&refused[..], [(0, Verdict::Unavailable(_))]),
        "{refused:?}"
    );
    node.unfence(KS, "p", 1, 4, 3 * SECOND).unwrap();
    assert!(matches!(&verdicts.take()[..], [(1, Verdict::Done(_))]));
    assert_code(&get(&node, 7), Code::Ok, 1);
    assert_eq!(node.expire_held(100 * SECOND), 0);
}

#[test]
fn a_held_scan_is_told_to_come_again() {
    let (node, verdicts) = (primary("a"), Verdicts::default());
    node.fence(KS, "p", 1, 5, 0).unwrap();
    let scan = Scan {
        start: b"",
        end: b"",
        reverse: false,
        limit: 10,
        max_bytes: 0,
    };
    let outcome = node
        .keyspace(KS)
        .unwrap()
        .scan(&scan, 0, || verdicts.waiter(0));
    assert!(matches!(outcome, ScanOutcome::Parked));
    node.unfence(KS, "p", 1, 5, 0).unwrap();
    assert!(matches!(&verdicts.take()[..], [(0, Verdict::Retry)]));
}

#[test]
fn conditions_hold_or_nothing_happens() {
    let node = primary("a");
    assert_code(&done(write(&node, 1, "a", 2)), Code::VersionMismatch, 0);
    assert_code(&done(write(&node, 1, "a", 1)), Code::Ok, 1);
    assert_code(&done(write(&node, 1, "b", 1)), Code::VersionMismatch, 1);
    assert_code(&done(write(&node, 1, "b", 2)), Code::Ok, 2);
    assert_code(&delete(&node, 1, 2), Code::VersionMismatch, 2);
    assert_code(&delete(&node, 1, 3), Code::Ok, 3);
    assert_code(&delete(&node, 1, 0), Code::NoRow, 0);
    assert_code(&get(&node, 1), Code::NoRow, 0);
    assert_eq!(
        state(&node, "p").sequence,
        3,
        "what was not applied takes no number"
    );
}

#[test]
fn wrong_keys_and_values_are_answered_not_applied() {
    let settings = Settings {
        value_limit_bytes: 4,
        ..Settings::default()
    };
    let node = node_with("a", settings);
    node.serve(KS, "p", 1, KEY_LENGTH, b"", b"", false, 0)
        .unwrap();
    let store = node.keyspace(KS).unwrap();
    let long = done(store.execute(Op::Get { key: b"abc" }, 0, || panic!("held")));
    assert_eq!(long.code, Code::Invalid);
    assert!(long.message.unwrap().contains("takes exactly 2"));
    let big = put(&node, 1, "12345");
    assert_eq!(big.code, Code::TooLarge);
    assert!(
        big.message
            .unwrap()
            .contains("value of 0x01 is 5 bytes; at most 4")
    );
}
