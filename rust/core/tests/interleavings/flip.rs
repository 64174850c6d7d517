//! Splits and merges under readers and writers.

use std::sync::Arc;

use dstk_core::node::{Node, Refusal, Scan, ScanOutcome};
use dstk_core::partition::{Code, Role};

use super::harness::*;
use super::world::*;

fn split(node: &Node, epoch: u64) -> Result<(), Refusal> {
    let keys: [&[u8]; 1] = [&key(5)];
    node.split(KS, "p", epoch, epoch + 1, &keys, &["s", "t"], &clock)
        .map(drop)
}

fn merge(node: &Node, epoch: u64) -> Result<(), Refusal> {
    let parts = [("s", epoch), ("t", epoch)];
    node.merge(KS, &parts, "p", epoch + 1, b"", b"", &clock)
        .map(drop)
}

#[test]
fn no_write_is_lost_while_its_partition_is_split_and_merged() {
    in_many_orders(|| {
        let node = primary("a");
        put(&node, 3, "first");
        put(&node, 7, "first");
        let writer = |chosen: u8| {
            let node = Arc::clone(&node);
            runs(move || {
                let mut highest = 2;
                for text in ["second", "third"] {
                    let written = put(&node, chosen, text);
                    assert_eq!(written.code, Code::Ok);
                    assert!(written.version > highest, "versions of a key never repeat");
                    highest = written.version;
                    assert_code(&get(&node, chosen), Code::Ok, highest);
                }
            })
        };
        let operator = {
            let node = Arc::clone(&node);
            runs(move || {
                split(&node, 1).unwrap();
                merge(&node, 2).unwrap();
            })
        };
        together([writer(3), writer(7), operator]);
        for chosen in [3, 7] {
            assert_eq!(text(&get(&node, chosen)), Some("third"));
        }
        let state = state(&node, "p");
        assert_eq!((state.role, state.epoch, state.rows), (Role::Primary, 3, 2));
        assert_eq!(counter(&node, "puts_total"), 6);
    });
}

#[test]
fn a_reader_sees_the_rows_before_and_after_never_a_gap() {
    in_many_orders(|| {
        let node = primary("a");
        put(&node, 3, "low");
        put(&node, 7, "high");
        let reader = {
            let node = Arc::clone(&node);
            runs(move || {
                for (chosen, version) in [(3, 1), (7, 2), (3, 1)] {
                    assert_code(&get(&node, chosen), Code::Ok, version);
                }
            })
        };
        let scanner = {
            let node = Arc::clone(&node);
            runs(move || assert_eq!(scanned(&node), [1, 2]))
        };
        let watcher = {
            let node = Arc::clone(&node);
            runs(move || {
                let rows = counter(&node, "rows");
                assert_eq!(rows, 2, "counted while a partition took another's place");
                assert!(counter(&node, "puts_total") == 2);
            })
        };
        let operator = {
            let node = Arc::clone(&node);
            runs(move || {
                split(&node, 1).unwrap();
                merge(&node, 2).unwrap();
            })
        };
        together([reader, scanner, watcher, operator]);
    });
}

#[test]
fn of_a_put_and_a_split_either_comes_first() {
    in_many_orders(|| {
        let node = primary("a");
        let writer = {
            let node = Arc::clone(&node);
            runs(move || assert_code(&put(&node, 7, "x"), Code::Ok, 1))
        };
        let operator = {
            let node = Arc::clone(&node);
            runs(move || split(&node, 1).unwrap())
        };
        together([writer, operator]);
        assert_code(&get(&node, 7), Code::Ok, 1);
        assert_eq!((state(&node, "s").rows, state(&node, "t").rows), (0, 1));
    });
}

#[test]
fn of_two_operators_that_flip_one_partition_one_does() {
    in_many_orders(|| {
        let node = primary("a");
        put(&node, 3, "low");
        let splitting = || {
            let node = Arc::clone(&node);
            runs(move || match split(&node, 1) {
                // The same split asked for twice is done once and answered twice.
                Ok(()) | Err(Refusal::WrongRole(_) | Refusal::NotHere(_)) => {}
                Err(other) => panic!("{other}"),
            })
        };
        let moving = {
            let node = Arc::clone(&node);
            runs(move || match node.fence(KS, "p", 1, 1, 0) {
                Ok(_) => {
                    assert_eq!(state(&node, "p").role, Role::Primary);
                    node.unfence(KS, "p", 1, 1, 0).unwrap();
                }
                Err(Refusal::NotHere(_)) => {}
                Err(other) => panic!("{other}"),
            })
        };
        together([splitting(), splitting(), moving]);
        let states = node.states(None, 0).unwrap();
        let names: Vec<_> = states.iter().map(|state| &*state.partition).collect();
        assert!(names == ["p"] || names == ["s", "t"], "{names:?}");
        assert!(states.iter().all(|state| !state.fenced));
        assert_eq!(counter(&node, "splits_total"), u64::from(names.len() > 1));
    });
}

#[test]
fn a_fence_and_a_split_exclude_each_other() {
    in_many_orders(|| {
        let node = primary("a");
        let splitting = {
            let node = Arc::clone(&node);
            runs(move || drop(split(&node, 1)))
        };
        let fencing = {
            let node = Arc::clone(&node);
            runs(move || drop(node.fence(KS, "p", 1, 1, 0)))
        };
        together([splitting, fencing]);
        let states = node.states(None, 0).unwrap();
        let fenced = states.iter().filter(|state| state.fenced).count();
        assert_eq!(
            (states.len(), fenced),
            if fenced == 1 { (1, 1) } else { (2, 0) }
        );
    });
}

/// Versions of all rows.
fn scanned(node: &Node) -> Vec<u64> {
    let store = node.keyspace(KS).unwrap();
    let (mut start, mut versions) = (Vec::new(), Vec::new());
    loop {
        let scan = Scan {
            start: &start,
            end: b"",
            reverse: false,
            limit: 10,
            max_bytes: 0,
        };
        let ScanOutcome::Page(page) = store.scan(&scan, 0, || panic!("held")) else {
            panic!("no page");
        };
        versions.extend(page.versions);
        match page.cursor {
            Some(cursor) => start = cursor.into(),
            None => return versions,
        }
    }
}
