//! The follower's end of a stream, while an operator makes something else of the partition; and a whole move.

use std::sync::Arc;
use std::time::Duration;

use dstk_core::node::{FollowError, Refusal};
use dstk_core::partition::{Code, Role};
use parking_lot::Mutex;

use super::harness::*;
use super::world::*;

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn a_stream_that_was_followed_anew_touches_the_partition_no_more() {
    in_many_orders(|| {
        let (source, destination) = (primary("a"), node("b"));
        put(&source, 1, "one");
        let spec = follow(&destination, "p", 1, b"", b"", &source);
        let mut old = Stream::open(&source, &destination, &spec).unwrap();
        for number in 2..5 {
            put(&source, number, "later");
        }
        let anew = Arc::new(Mutex::new(false));
        let streaming = {
            let anew = Arc::clone(&anew);
            runs(move || {
                for _ in 0..3 {
                    let superseded = *anew.lock();
                    // One write at a time.
                    let went_on = old.advance(1);
                    assert!(!(superseded && went_on.is_ok()), "the old stream applied");
                }
                old.follower().failed("the connection broke");
            })
        };
        let operator = {
            let (source, destination, anew) = (
                Arc::clone(&source),
                Arc::clone(&destination),
                Arc::clone(&anew),
            );
            runs(move || {
                let followed = destination
                    .follow(
                        KS, "p", 1, KEY_LENGTH, b"", b"", "a", "a:2", "a/2", false, 0, 0,
                    )
                    .unwrap();
                *anew.lock() = true;
                let spec = followed.start.unwrap();
                let mut stream = Stream::open(&source, &destination, &spec).unwrap();
                stream.drain().unwrap();
            })
        };
        together([streaming, operator]);
        let (source, copy) = (state(&source, "p"), state(&destination, "p"));
        assert_eq!(
            (copy.sequence, copy.digest),
            (source.sequence, source.digest)
        );
        assert_eq!(copy.role, Role::Following);
        assert_eq!(
            copy.follow.unwrap().error,
            "",
            "the old stream's end is not the new one's"
        );
    });
}

#[test]
fn after_a_promotion_its_stream_applies_nothing() {
    in_many_orders(|| {
        let (source, destination) = (primary("a"), node("b"));
        put(&source, 1, "one");
        let spec = follow(&destination, "p", 1, b"", b"", &source);
        let mut stream = Stream::open(&source, &destination, &spec).unwrap();
        let middle = put(&source, 2, "two");
        let digest = state(&source, "p").digest;
        put(&source, 3, "three");
        let promoted = Arc::new(Mutex::new(false));
        let streaming = runs(move || while let Ok(true) = stream.advance(1) {});
        let operator = {
            let (destination, promoted) = (Arc::clone(&destination), Arc::clone(&promoted));
            runs(move || {
                for _ in 0..3 {
                    match destination.promote(KS, "p", 2, middle.version, digest, 0) {
                        Ok(state) => {
                            assert_eq!(state.sequence, middle.version);
                            *promoted.lock() = true;
                            return;
                        }
                        Err(Refusal::NotReady(_)) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            })
        };
        together([streaming, operator]);
        let state = state(&destination, "p");
        if *promoted.lock() {
            let found = (state.role, state.sequence, state.digest);
            assert_eq!(found, (Role::Primary, middle.version, digest));
        } else {
            assert_eq!((state.role, state.sequence), (Role::Following, 3));
        }
    });
}

#[test]
fn after_a_drop_its_stream_finds_nothing() {
    in_many_orders(|| {
        let (source, destination) = (primary("a"), node("b"));
        let spec = follow(&destination, "p", 1, b"", b"", &source);
        let mut stream = Stream::open(&source, &destination, &spec).unwrap();
        put(&source, 1, "one");
        put(&source, 2, "two");
        let streaming = {
            let (destination, spec) = (Arc::clone(&destination), spec.clone());
            runs(move || {
                while let Ok(true) = stream.advance(1) {}
                stream.follower().failed("the connection broke");
                match destination.follow_stream(&spec) {
                    Ok(_) | Err(FollowError::Superseded(_)) => {}
                    Err(other) => panic!("{other}"),
                }
            })
        };
        let operator = {
            let destination = Arc::clone(&destination);
            runs(move || {
                destination.drop_partition(KS, "p", 1).unwrap();
                assert_eq!(counter(&destination, "partitions_following"), 0);
                assert_eq!(counter(&destination, "rows"), 0);
            })
        };
        together([streaming, operator]);
        assert!(destination.states(None, 0).unwrap().is_empty());
    });
}

#[test]
fn who_waits_for_a_follower_is_woken_by_what_it_applies() {
    in_many_orders(|| {
        let (source, destination) = (primary("a"), node("b"));
        let spec = follow(&destination, "p", 1, b"", b"", &source);
        let mut stream = Stream::open(&source, &destination, &spec).unwrap();
        put(&source, 1, "one");
        put(&source, 2, "two");
        let streaming = runs(move || while let Ok(true) = stream.advance(1) {});
        let waiting = || {
            let destination = Arc::clone(&destination);
            runs(move || {
                let state = destination.await_applied(KS, "p", 1, 2, LONG).unwrap();
                assert_eq!(state.sequence, 2);
            })
        };
        together([streaming, waiting(), waiting()]);
    });
}

#[test]
fn who_waits_for_a_follower_is_woken_by_whatever_ends_it() {
    in_many_orders(|| {
        let (source, destination) = (primary("a"), node("b"));
        let spec = follow(&destination, "p", 1, b"", b"", &source);
        let stream = Stream::open(&source, &destination, &spec).unwrap();
        let waiting = {
            let destination = Arc::clone(&destination);
            runs(
                move || match destination.await_applied(KS, "p", 1, 9, LONG) {
                    Ok(state) => assert!(state.sequence < 9),
                    Err(Refusal::NotHere(_)) => {}
                    Err(other) => panic!("{other}"),
                },
            )
        };
        let breaking = runs(move || stream.follower().failed("the connection broke"));
        let dropping = {
            let destination = Arc::clone(&destination);
            runs(move || destination.drop_partition(KS, "p", 1).unwrap())
        };
        together([waiting, breaking, dropping]);
    });
}

#[test]
fn no_acknowledged_write_is_lost_while_its_partition_moves() {
    in_many_orders(|| {
        let nodes = [primary("a"), node("b")];
        let writer = |chosen: u8| {
            let nodes = nodes.clone();
            runs(move || {
                let mut highest = 0;
                for text in ["first", "second"] {
                    let written = carry_put(&nodes, chosen, text);
                    assert!(written.version > highest, "versions of a key never repeat");
                    highest = written.version;
                    assert_code(&carry_get(&nodes, chosen), Code::Ok, highest);
                }
            })
        };
        let operator = {
            let nodes = nodes.clone();
            runs(move || {
                let [source, destination] = &nodes;
                let (fenced, stream) = drained(source, destination);
                destination
                    .promote(KS, "p", 2, fenced.sequence, fenced.digest, 0)
                    .unwrap();
                source.proxy(KS, "p", 2, "b", "b:1", 0).unwrap();
                drop(stream);
                source.release(KS, "p", 2).unwrap();
            })
        };
        together([writer(3), writer(7), operator]);
        for chosen in [3, 7] {
            assert_eq!(text(&get(&nodes[1], chosen)), Some("second"));
        }
        assert!(nodes[0].states(None, 0).unwrap().is_empty());
        for node in &nodes {
            assert_eq!(
                (counter(node, "held"), counter(node, "log_readers")),
                (0, 0)
            );
        }
    });
}
