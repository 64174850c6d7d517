//! A fence: where the log ends, who may lift it, what becomes of those behind it.

use std::sync::Arc;

use dstk_core::node::Refusal;
use dstk_core::partition::Role;

use super::harness::*;
use super::world::*;

#[test]
fn nothing_is_applied_after_the_sequence_of_a_fence_and_every_request_goes_on_once() {
    in_many_orders(|| {
        let (node, requests) = (primary("a"), Requests::default());
        let fenced = Arc::new(parking_lot::Mutex::new(None));
        let writer = |numbers: [usize; 2]| {
            let (node, requests) = (Arc::clone(&node), requests.clone());
            runs(move || {
                for number in numbers {
                    requests.put(&node, number, number as u8, 0);
                }
            })
        };
        let reader = {
            let (node, requests) = (Arc::clone(&node), requests.clone());
            runs(move || requests.get(&node, 4, 0, 0))
        };
        let operator = {
            let (node, fenced) = (Arc::clone(&node), Arc::clone(&fenced));
            runs(move || {
                let granted = node.fence(KS, "p", 1, 1, 0).unwrap();
                let again = state(&node, "p");
                assert_eq!(
                    (granted.sequence, granted.digest),
                    (again.sequence, again.digest)
                );
                *fenced.lock() = Some(granted.sequence);
                node.proxy(KS, "p", 2, "b", "b:1", 0).unwrap();
            })
        };
        together([writer([0, 1]), writer([2, 3]), reader, operator]);
        let ended = requests.ended(5);
        let mut versions: Vec<_> = ended[..4].iter().filter_map(Ended::version).collect();
        versions.sort_unstable();
        let last = fenced.lock().unwrap();
        assert_eq!(
            versions,
            Vec::from_iter(1..=last),
            "all up to the fence, none after"
        );
        assert!(ended.iter().all(|ended| match ended {
            Ended::Done(_) => true,
            Ended::Forwarded(to, _) => **to == *"b",
            _ => false,
        }));
        assert_eq!(counter(&node, "held"), 0);
    });
}

#[test]
fn what_was_held_runs_before_what_comes_after_the_fence_was_lifted() {
    in_many_orders(|| {
        let (node, requests) = (primary("a"), Requests::default());
        node.fence(KS, "p", 1, 1, 0).unwrap();
        let writer = |numbers: [usize; 2]| {
            let (node, requests) = (Arc::clone(&node), requests.clone());
            runs(move || {
                for number in numbers {
                    requests.put(&node, number, 7, 0);
                }
            })
        };
        let operator = {
            let node = Arc::clone(&node);
            runs(move || drop(node.unfence(KS, "p", 1, 1, 0).unwrap()))
        };
        together([writer([0, 1]), writer([2, 3]), operator]);
        let held = requests.held();
        let versions: Vec<_> = requests
            .ended(4)
            .iter()
            .map(|ended| ended.version().unwrap())
            .collect();
        for (at, number) in held.iter().enumerate() {
            assert_eq!(
                versions[*number],
                at as u64 + 1,
                "first those held, in order"
            );
        }
        let last = (0..4).max_by_key(|number| versions[*number]).unwrap();
        assert_eq!(text(&get(&node, 7)), Some(&*last.to_string()));
        assert_eq!(counter(&node, "held"), 0);
    });
}

#[test]
fn a_late_unfence_lifts_no_later_fence() {
    in_every_order(|| {
        let node = primary("a");
        node.fence(KS, "p", 1, 1, 0).unwrap();
        let late = {
            let node = Arc::clone(&node);
            runs(move || match node.unfence(KS, "p", 1, 1, 0) {
                Ok(_) | Err(Refusal::Stale(_)) => {}
                Err(other) => panic!("{other}"),
            })
        };
        let operator = {
            let node = Arc::clone(&node);
            runs(move || drop(node.fence(KS, "p", 1, 2, 0).unwrap()))
        };
        together([late, operator]);
        let state = state(&node, "p");
        assert_eq!((state.fenced, state.fence_token), (true, 2));
    });
}

#[test]
fn behind_a_fence_that_was_granted_nothing_changes_until_its_own_token_lifts_it() {
    in_many_orders(|| {
        let (node, requests) = (primary("a"), Requests::default());
        let old = {
            let node = Arc::clone(&node);
            runs(move || {
                // Another operator may have been granted a later one first.
                let _ = node.fence(KS, "p", 1, 1, 0);
                let _ = node.unfence(KS, "p", 1, 1, 0);
                let _ = node.unfence(KS, "p", 1, 0, 0);
            })
        };
        let new = {
            let node = Arc::clone(&node);
            runs(move || {
                let granted = node.fence(KS, "p", 1, 2, 0).unwrap();
                for _ in 0..2 {
                    let state = state(&node, "p");
                    assert!(state.fenced, "lifted by an older token");
                    assert_eq!(state.sequence, granted.sequence);
                }
                node.unfence(KS, "p", 1, 2, 0).unwrap();
            })
        };
        let writer = {
            let (node, requests) = (Arc::clone(&node), requests.clone());
            runs(move || (0..3).for_each(|number| requests.put(&node, number, 7, 0)))
        };
        together([old, new, writer]);
        let state = state(&node, "p");
        assert_eq!(
            (state.role, state.fenced, state.held),
            (Role::Primary, false, 0)
        );
        let versions: Vec<_> = requests.ended(3).iter().map(Ended::version).collect();
        assert_eq!(versions, [Some(1), Some(2), Some(3)], "one client's order");
    });
}

#[test]
fn of_two_fences_of_one_token_one_is_granted() {
    in_every_order(|| {
        let node = primary("a");
        let granted = Arc::new(parking_lot::Mutex::new(0));
        let operator = || {
            let (node, granted) = (Arc::clone(&node), Arc::clone(&granted));
            runs(move || match node.fence(KS, "p", 1, 1, 0) {
                Ok(_) => *granted.lock() += 1,
                Err(Refusal::Stale(_)) => {}
                Err(other) => panic!("{other}"),
            })
        };
        together([operator(), operator()]);
        assert_eq!(*granted.lock(), 1);
    });
}
