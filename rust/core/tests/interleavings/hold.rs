//! Requests behind a fence that several want to send on at the same time.

use std::sync::Arc;

use dstk_core::node::{KeyspaceRoutes, Route, RoutesUpdate, Settings};
use dstk_core::partition::Role;

use super::harness::*;
use super::world::*;

#[test]
fn whoever_comes_first_sends_a_held_request_on_and_nobody_else_does() {
    in_many_orders(|| {
        let settings = Settings {
            hold_seconds: 2.0,
            ..Settings::default()
        };
        let (node, requests) = (node_with("a", settings), Requests::default());
        node.serve(KS, "p", 1, KEY_LENGTH, b"", b"", false, 0)
            .unwrap();
        node.fence(KS, "p", 1, 1, 0).unwrap();
        requests.put(&node, 0, 0, 0);
        requests.put(&node, 1, 1, 9 * SECOND);
        let writer = {
            let (node, requests) = (Arc::clone(&node), requests.clone());
            runs(move || requests.put(&node, 2, 2, 9 * SECOND))
        };
        let watcher = {
            let node = Arc::clone(&node);
            runs(move || {
                for _ in 0..3 {
                    assert!(counter(&node, "held") <= 3, "counted below nothing");
                }
            })
        };
        let expiry = {
            let node = Arc::clone(&node);
            runs(move || assert!(node.expire_held(9 * SECOND) <= 1))
        };
        let aborting = {
            let node = Arc::clone(&node);
            runs(move || drop(node.unfence(KS, "p", 1, 1, 0)))
        };
        let committing = {
            let node = Arc::clone(&node);
            runs(move || drop(node.proxy(KS, "p", 2, "b", "b:1", 0).unwrap()))
        };
        together([writer, watcher, expiry, aborting, committing]);
        let ended = requests.ended(3);
        for (number, ended) in ended.iter().enumerate() {
            match ended {
                Ended::Done(_) | Ended::Forwarded(..) => {}
                Ended::Refused if number == 0 => {}
                other => panic!("request {number}: {other:?}"),
            }
        }
        assert_eq!(counter(&node, "held"), 0);
        assert_eq!(state(&node, "p").held, 0);
    });
}

#[test]
fn a_request_held_for_a_promotion_is_carried_out_or_passed_on() {
    in_many_orders(|| {
        let (source, destination) = (primary("a"), node("b"));
        put(&source, 1, "one");
        let (fenced, stream) = drained(&source, &destination);
        let requests = Requests::default();
        let routes = {
            let destination = Arc::clone(&destination);
            runs(move || destination.apply_routes(&owner("b", 2)).unwrap())
        };
        let operator = {
            let destination = Arc::clone(&destination);
            runs(move || {
                let (sequence, digest) = (fenced.sequence, fenced.digest);
                destination
                    .promote(KS, "p", 2, sequence, digest, 0)
                    .unwrap();
            })
        };
        let client = {
            let (destination, requests) = (Arc::clone(&destination), requests.clone());
            runs(move || {
                requests.put(&destination, 0, 7, 0);
                requests.put(&destination, 1, 7, 0);
            })
        };
        together([routes, operator, client]);
        drop(stream);
        let ended = requests.ended(2);
        let mut next = fenced.sequence;
        for ended in &ended {
            match ended {
                // While it follows and has not heard of the move: to the source, which passes on or holds.
                Ended::Forwarded(to, false) => assert_eq!(**to, *"a"),
                done => {
                    next += 1;
                    assert_eq!(done.version(), Some(next), "{done:?}");
                }
            }
        }
        let state = state(&destination, "p");
        assert_eq!((state.role, state.sequence), (Role::Primary, next));
        assert_eq!(counter(&destination, "held"), 0);
    });
}

#[test]
fn a_request_held_at_a_follower_that_is_dropped_is_asked_again() {
    in_many_orders(|| {
        let (source, destination) = (primary("a"), node("b"));
        let (_, stream) = drained(&source, &destination);
        destination.apply_routes(&owner("b", 2)).unwrap();
        let requests = Requests::default();
        requests.put(&destination, 0, 7, 0);
        let operator = {
            let destination = Arc::clone(&destination);
            runs(move || destination.drop_partition(KS, "p", 1).unwrap())
        };
        let expiry = {
            let destination = Arc::clone(&destination);
            runs(move || _ = destination.expire_held(9 * SECOND))
        };
        let stopping = {
            let destination = Arc::clone(&destination);
            runs(move || _ = destination.refuse_held("stopping"))
        };
        together([operator, expiry, stopping]);
        drop(stream);
        let ended = requests.ended(1);
        assert!(matches!(ended[0], Ended::Again | Ended::Refused));
        assert_eq!(counter(&destination, "held"), 0);
    });
}

/// That `worker` has all keys.
fn owner(worker: &str, epoch: u64) -> RoutesUpdate {
    let route = Route {
        partition: "p".into(),
        start: Vec::new(),
        end: Vec::new(),
        epoch,
        owner: worker.into(),
    };
    let routes = KeyspaceRoutes {
        keyspace: KS.into(),
        key_length: KEY_LENGTH,
        routes: vec![route],
        withdrawn: Vec::new(),
        losses: None,
    };
    RoutesUpdate {
        full: false,
        keyspaces: vec![routes],
        workers: Vec::new(),
    }
}
