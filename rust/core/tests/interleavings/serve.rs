//! What an operator says late, when another has said something since.

use std::sync::Arc;

use dstk_core::node::{Outcome, Refusal};
use dstk_core::partition::{Op, Role};

use super::harness::*;
use super::world::*;

#[test]
fn a_serve_that_comes_late_brings_nothing_back() {
    in_every_order(|| {
        let node = primary("a");
        put(&node, 1, "x");
        node.proxy(KS, "p", 2, "b", "b:1", 0).unwrap();
        let late = {
            let node = Arc::clone(&node);
            runs(
                move || match node.serve(KS, "p", 1, KEY_LENGTH, b"", b"", false, 0) {
                    Err(Refusal::Stale(_)) => {}
                    other => panic!("{other:?}"),
                },
            )
        };
        let operator = {
            let node = Arc::clone(&node);
            runs(move || node.release(KS, "p", 2).unwrap())
        };
        together([late, operator]);
        assert!(node.states(None, 0).unwrap().is_empty());
    });
}

#[test]
fn a_serve_under_way_since_before_the_move_finds_a_primary_or_is_refused() {
    in_many_orders(|| {
        let node = primary("a");
        let late = {
            let node = Arc::clone(&node);
            runs(
                move || match node.serve(KS, "p", 1, KEY_LENGTH, b"", b"", false, 0) {
                    Ok(state) => assert_eq!((state.role, state.epoch), (Role::Primary, 1)),
                    Err(Refusal::Stale(_)) => {}
                    Err(other) => panic!("{other}"),
                },
            )
        };
        let operator = {
            let node = Arc::clone(&node);
            runs(move || {
                node.fence(KS, "p", 1, 1, 0).unwrap();
                node.proxy(KS, "p", 2, "b", "b:1", 0).unwrap();
                node.release(KS, "p", 2).unwrap();
            })
        };
        let confirming = {
            let node = Arc::clone(&node);
            runs(move || drop(node.release(KS, "p", 1)))
        };
        together([late, operator, confirming]);
        assert!(node.states(None, 0).unwrap().is_empty());
    });
}

#[test]
fn of_two_partitions_that_overlap_one_is_held() {
    in_many_orders(|| {
        let node = node("a");
        let serving = |name: &'static str| {
            let node = Arc::clone(&node);
            runs(
                move || match node.serve(KS, name, 1, KEY_LENGTH, b"", b"", false, 0) {
                    Ok(_) | Err(Refusal::WrongRole(_)) => {}
                    Err(other) => panic!("{other}"),
                },
            )
        };
        together([serving("p"), serving("q")]);
        assert_eq!(node.states(None, 0).unwrap().len(), 1);
    });
}

#[test]
fn what_ran_out_is_served_no_more_though_an_operator_is_heard_at_that_moment() {
    in_many_orders(|| {
        let (node, requests) = (primary("a"), Requests::default());
        node.renew(0, 0);
        node.set_lease(KS, KEY_LENGTH, SECOND).unwrap();
        let writer = {
            let node = Arc::clone(&node);
            runs(move || {
                let store = node.keyspace(KS).unwrap();
                let op = Op::Put {
                    key: &key(7),
                    value: "x".as_bytes().into(),
                    condition: 0,
                };
                let outcome = store.execute(op, 2 * SECOND, || requests.waiter(0));
                assert!(matches!(outcome, Outcome::Parked | Outcome::NotHere));
            })
        };
        let operator = {
            let node = Arc::clone(&node);
            runs(move || node.renew(2 * SECOND, 2 * SECOND))
        };
        let looking = {
            let node = Arc::clone(&node);
            runs(move || _ = node.lapse(2 * SECOND))
        };
        together([writer, operator, looking]);
        let state = state(&node, "p");
        assert_eq!(
            (state.fenced, state.fence_token, state.sequence),
            (true, 1, 0)
        );
        node.refuse_held("the end");
    });
}
