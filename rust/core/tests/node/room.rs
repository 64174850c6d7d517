//! What rows may take: counted as they come and go, kept free for copies on their way, and first for what is served.

use std::sync::Arc;

use dstk_core::node::{FollowError, Node, Refusal, Settings};
use dstk_core::partition::{Code, Op, ROW_BYTES, Reply, Role};

use crate::harness::{
    KEY_LENGTH, KS, SECOND, Stream, address, delete, get, node, node_with, put, state, text,
};

const VALUE: usize = 938;
/// What a row of such a value takes.
const ROW: u64 = (KEY_LENGTH + VALUE) as u64 + ROW_BYTES;

fn limited(name: &str, rows: u64) -> Arc<Node> {
    node_with(
        name,
        Settings {
            memory_limit_bytes: rows * ROW,
            ..Settings::default()
        },
    )
}

fn big(node: &Node, number: u8) -> Reply {
    put(node, number, &"x".repeat(VALUE))
}

/// Serves `[start, end)` of the first byte of keys, and fills it with so many rows.
fn filled(node: &Node, partition: &str, start: u8, end: u8, rows: u8) {
    let bounds = (&[start][..], &[end][..]);
    node.serve(KS, partition, 1, KEY_LENGTH, bounds.0, bounds.1, false, 0)
        .unwrap();
    for number in start..start + rows {
        assert_eq!(big(node, number).code, Code::Ok, "{number}");
    }
}

/// Has `to` follow partition `p`, [0, 100), with what the operator says of its size.
fn follow(to: &Node, from: &Node, size: u64) -> Result<dstk_core::node::FollowSpec, Refusal> {
    let (name, incarnation) = (from.name(), from.incarnation());
    let (start, end) = (&[0][..], &[100][..]);
    let followed = to.follow(
        KS,
        "p",
        1,
        KEY_LENGTH,
        start,
        end,
        name,
        &address(name),
        incarnation,
        false,
        size,
        SECOND,
    )?;
    Ok(followed.start.unwrap())
}

#[test]
fn a_put_that_does_not_fit_is_refused_and_the_one_before_it_is_not() {
    let node = limited("w", 10);
    filled(&node, "p", 0, 200, 10);
    assert_eq!(node.room(), (10 * ROW, 10 * ROW, 0));
    let refused = put(&node, 90, "");
    assert_eq!(refused.code, Code::Limit, "{refused:?}");
    assert!(
        refused
            .message
            .as_deref()
            .unwrap()
            .contains("memory_limit_bytes"),
        "{refused:?}"
    );
    assert_eq!(node.room().1, 10 * ROW, "what was refused takes nothing");
}

#[test]
fn a_row_may_take_the_place_of_one_that_is_as_long() {
    let node = limited("w", 10);
    filled(&node, "p", 0, 200, 10);
    assert_eq!(big(&node, 3).code, Code::Ok);
    assert_eq!(put(&node, 3, "short").code, Code::Ok);
    assert_eq!(node.room().1, 10 * ROW - (VALUE - 5) as u64);
    assert_eq!(big(&node, 3).code, Code::Ok, "there is room for that again");
    assert_eq!(put(&node, 4, &"x".repeat(VALUE + 1)).code, Code::Limit);
}

#[test]
fn what_is_deleted_leaves_room() {
    let node = limited("w", 10);
    filled(&node, "p", 0, 200, 10);
    assert_eq!(delete(&node, 0, 0).code, Code::Ok);
    assert_eq!(node.room().1, 9 * ROW);
    assert_eq!(big(&node, 50).code, Code::Ok);
    assert_eq!(big(&node, 51).code, Code::Limit);
}

#[test]
fn writers_at_the_same_time_take_no_more_than_there_is() {
    let node = limited("w", 500);
    for part in 0..4 {
        let (start, end) = (part * 60, part * 60 + 60);
        filled(&node, &format!("p{part}"), start, end, 0);
    }
    std::thread::scope(|scope| {
        for part in 0..4_u8 {
            let node = &node;
            scope.spawn(move || {
                let store = node.keyspace(KS).unwrap();
                for round in 0..200_u8 {
                    let op = Op::Put {
                        key: &[part * 60 + round % 60, round],
                        value: vec![0; VALUE].into(),
                        condition: 0,
                    };
                    store.execute(op, 0, || unreachable!("nothing is fenced"));
                }
            });
        }
    });
    assert_eq!(node.room(), (500 * ROW, 500 * ROW, 0));
}

#[test]
fn splits_and_merges_take_no_room() {
    let node = limited("w", 10);
    filled(&node, "p", 0, 200, 10);
    let clock = || SECOND;
    node.split(KS, "p", 1, 2, &[&[5]], &["low", "high"], &clock)
        .unwrap();
    assert_eq!(node.room().1, 10 * ROW);
    assert_eq!(delete(&node, 0, 0).code, Code::Ok);
    assert_eq!(big(&node, 70).code, Code::Ok);
    let parts = [("low", 2), ("high", 2)];
    node.merge(KS, &parts, "whole", 3, &[0], &[200], &clock)
        .unwrap();
    assert_eq!(node.room().1, 10 * ROW);
    assert_eq!(big(&node, 71).code, Code::Limit);
}

#[test]
fn a_copy_that_does_not_fit_is_refused_before_anything_comes() {
    let (from, to) = (node("a"), limited("b", 10));
    filled(&from, "p", 0, 100, 8);
    filled(&to, "q", 100, 200, 3);
    let refused = follow(&to, &from, 8 * ROW).unwrap_err();
    assert!(
        matches!(&refused, Refusal::Limit(why) if why.contains("room for 7000 bytes")),
        "{refused}"
    );
    assert!(to.states(Some(&["p"]), 0).unwrap().is_empty());
    assert_eq!(to.room(), (10 * ROW, 3 * ROW, 0));
}

#[test]
fn what_a_copy_was_promised_is_not_promised_to_another() {
    let (from, to) = (node("a"), limited("b", 10));
    filled(&from, "p", 0, 100, 6);
    follow(&to, &from, 6 * ROW).unwrap();
    assert_eq!(to.room(), (10 * ROW, 0, 6 * ROW));
    let other = |size| {
        let (name, incarnation) = (from.name(), from.incarnation());
        let (start, end) = (&[100][..], &[200][..]);
        to.follow(
            KS,
            "q",
            1,
            KEY_LENGTH,
            start,
            end,
            name,
            "a:1",
            incarnation,
            false,
            size,
            0,
        )
    };
    assert!(matches!(other(5 * ROW), Err(Refusal::Limit(_))));
    other(4 * ROW).unwrap();
    to.drop_partition(KS, "p", 1).unwrap();
    assert_eq!(to.room(), (10 * ROW, 0, 4 * ROW));
}

#[test]
fn a_copy_that_is_promoted_takes_what_it_has() {
    let (from, to) = (node("a"), limited("b", 10));
    filled(&from, "p", 0, 100, 6);
    let spec = follow(&to, &from, 7 * ROW).unwrap();
    let mut stream = Stream::open(&from, &to, &spec).unwrap();
    assert_eq!(
        to.room(),
        (10 * ROW, 6 * ROW, 0),
        "the source says that it is six by now"
    );
    let fenced = from.fence(KS, "p", 1, 1, 0).unwrap();
    stream.drain().unwrap();
    to.promote(KS, "p", 2, fenced.sequence, fenced.digest, 0)
        .unwrap();
    assert_eq!(to.room(), (10 * ROW, 6 * ROW, 0));
    from.proxy(KS, "p", 2, "b", "b:1", 0).unwrap();
    assert_eq!(from.room().1, 0, "the source has let its rows go");
}

#[test]
fn a_copy_of_a_size_that_nobody_told_ends_at_its_first_message() {
    let (from, to) = (node("a"), limited("b", 10));
    filled(&from, "p", 0, 100, 11);
    let spec = follow(&to, &from, 0).unwrap();
    let plan = from.open_reader(KS, "p", 1, &[]).unwrap();
    let follower = to.follow_stream(&spec).unwrap();
    let ended = follower
        .begin_snapshot(plan.sequence, plan.rows, plan.bytes, plan.bytes_to_send)
        .unwrap_err();
    assert!(matches!(&ended, FollowError::NoRoom(_)), "{ended}");
    let follow_progress = state(&to, "p").follow.unwrap();
    assert!(
        follow_progress.no_room && follow_progress.error.contains("room"),
        "{follow_progress:?}"
    );
    assert_eq!(to.room(), (10 * ROW, 0, 0));
    assert!(
        to.follow_stream(&spec).is_err(),
        "it is not tried again unasked"
    );
    follow(&to, &from, 0).unwrap();
}

#[test]
fn rows_that_are_served_have_their_room_back_from_a_copy_on_its_way() {
    let (from, to) = (node("a"), limited("b", 10));
    filled(&from, "p", 0, 100, 6);
    filled(&to, "q", 100, 200, 3);
    let spec = follow(&to, &from, 6 * ROW).unwrap();
    Stream::open_until(&from, &to, &spec, 2).unwrap();
    assert!(!to.make_room(), "nobody was refused");
    for number in 103..110 {
        if big(&to, number).code == Code::Limit {
            assert!(to.make_room());
            assert_eq!(big(&to, number).code, Code::Ok);
        }
    }
    assert_eq!(to.room(), (10 * ROW, 10 * ROW, 0));
    let copy = state(&to, "p");
    assert_eq!((copy.role, copy.rows), (Role::Loading, 0));
    assert!(copy.follow.unwrap().no_room);
    assert_eq!(
        big(&to, 110).code,
        Code::Limit,
        "now the rows that are served take all of it"
    );
    assert!(!to.make_room());
}

#[test]
fn a_copy_whose_source_is_fenced_is_left_alone_as_it_may_own_the_rows_in_a_moment() {
    let (from, to) = (node("a"), limited("b", 10));
    filled(&from, "p", 0, 100, 6);
    filled(&to, "q", 100, 200, 4);
    let spec = follow(&to, &from, 6 * ROW).unwrap();
    let mut stream = Stream::open(&from, &to, &spec).unwrap();
    let fenced = from.fence(KS, "p", 1, 1, 0).unwrap();
    stream.drain().unwrap();
    assert_eq!(big(&to, 104).code, Code::Limit);
    assert!(!to.make_room());
    to.promote(KS, "p", 2, fenced.sequence, fenced.digest, 0)
        .unwrap();
    assert_eq!(text(&get(&to, 0)).unwrap().len(), VALUE);
}

#[test]
fn a_copy_that_outgrows_its_room_while_it_follows_ends() {
    let (from, to) = (node("a"), limited("b", 10));
    filled(&from, "p", 0, 100, 6);
    filled(&to, "q", 100, 200, 4);
    let spec = follow(&to, &from, 6 * ROW).unwrap();
    let mut stream = Stream::open(&from, &to, &spec).unwrap();
    assert_eq!(big(&from, 50).code, Code::Ok);
    let ended = stream.drain().unwrap_err();
    assert!(ended.contains("no room for this copy"), "{ended}");
    assert!(state(&to, "p").follow.unwrap().no_room);
    to.drop_partition(KS, "p", 1).unwrap();
    assert_eq!(to.room(), (10 * ROW, 4 * ROW, 0));
    assert_eq!(big(&to, 104).code, Code::Ok);
}
