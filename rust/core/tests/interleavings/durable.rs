//! What is told of a node that writes down: never of what a crash may take back, and to everybody in the end.
//!
//! Under the checker a file holds what was synced alone, so a copy of the directory is what a crash leaves.

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use dstk_core::disk::scratch::Scratch;
use dstk_core::disk::{Report, check};
use dstk_core::faults::{Point, set_hook};
use dstk_core::node::{Node, Settings};
use dstk_core::partition::{Code, Reply};
use shuttle::rand::Rng;
use shuttle::sync::mpsc::channel;

use super::harness::*;
use super::world::*;

fn open(dir: &Path) -> Arc<Node> {
    let settings = Settings {
        // Files are made for every order that is tried.
        log_segment_bytes: 16 << 10,
        ..Settings::default()
    };
    let node = Node::open("a", "a/1", settings, dir).unwrap();
    node.serve(KS, "p", 1, KEY_LENGTH, b"", b"", true, 0)
        .unwrap();
    node
}

/// What is found after a crash at this moment.
fn after_a_crash(dir: &Path) -> Report {
    let image = Scratch::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let bytes = std::fs::read(entry.path()).unwrap();
        std::fs::write(image.path().join(entry.file_name()), bytes).unwrap();
    }
    check(image.path()).unwrap()
}

/// Waits, as the server does, until the reply may be told; then its row, and all that were written before, are found
/// after a crash. Every row of these cases is written once, so versions count them.
fn tell(node: &Node, dir: &Path, reply: &Reply) {
    let (sender, told) = channel();
    node.when_durable(
        reply.after,
        Box::new(move |result| sender.send(result).unwrap()),
    );
    told.recv().unwrap().unwrap();
    assert!(told.recv().is_err(), "told twice");
    assert!(node.is_durable(reply.after));
    let rows = after_a_crash(dir).rows;
    assert!(
        rows >= reply.version,
        "told of version {}, {rows} rows are left",
        reply.version
    );
}

#[test]
fn who_is_told_of_a_row_finds_it_after_a_crash() {
    in_few_orders(|| {
        let dir = Arc::new(Scratch::new());
        let node = open(dir.path());
        let writer = |chosen: u8| {
            let (node, dir) = (Arc::clone(&node), Arc::clone(&dir));
            runs(move || tell(&node, dir.path(), &put(&node, chosen, "x")))
        };
        let reader = {
            let (node, dir) = (Arc::clone(&node), Arc::clone(&dir));
            runs(move || {
                let reply = get(&node, 1);
                if reply.code == Code::Ok {
                    tell(&node, dir.path(), &reply);
                }
            })
        };
        together([writer(1), writer(2), reader]);
        node.close();
    });
}

#[test]
fn everybody_who_waits_is_told_once_when_the_log_is_closed_under_them() {
    in_few_orders(|| {
        let dir = Scratch::new();
        let node = open(dir.path());
        let waiting = |chosen: u8| {
            let node = Arc::clone(&node);
            runs(move || {
                let reply = put(&node, chosen, "x");
                if reply.code == Code::Limit {
                    return;
                }
                let (sender, told) = channel();
                let synced = move |result: Result<(), _>| sender.send(result.is_ok()).unwrap();
                node.when_durable(reply.after, Box::new(synced));
                // When nobody is told, all sleep, and the checker says so.
                let durable = told.recv().unwrap();
                assert!(told.recv().is_err(), "told twice");
                assert_eq!(node.is_durable(reply.after), durable);
            })
        };
        let blocked = {
            let node = Arc::clone(&node);
            runs(move || drop(node.serve(KS, "p", 2, KEY_LENGTH, b"", b"", true, 0)))
        };
        let closing = {
            let node = Arc::clone(&node);
            runs(move || node.close())
        };
        together([waiting(1), waiting(2), blocked, closing]);
        assert!(node.failure().is_some());
    });
}

#[test]
fn what_a_split_tells_of_is_found_after_a_crash() {
    in_few_orders(|| {
        let dir = Arc::new(Scratch::new());
        let node = open(dir.path());
        let writer = {
            let (node, dir) = (Arc::clone(&node), Arc::clone(&dir));
            runs(move || {
                // A row of the left part: its version is that of the parent's row or the first after it.
                tell(&node, dir.path(), &put(&node, 1, "x"));
            })
        };
        let splitting = {
            let (node, dir) = (Arc::clone(&node), Arc::clone(&dir));
            runs(move || {
                let keys: [&[u8]; 1] = [&key(5)];
                node.split(KS, "p", 1, 2, &keys, &["s", "t"], &clock)
                    .unwrap();
                assert_eq!(after_a_crash(dir.path()).partitions, 2);
            })
        };
        let reader = {
            let (node, dir) = (Arc::clone(&node), Arc::clone(&dir));
            runs(move || {
                let reply = get(&node, 1);
                if reply.code == Code::Ok {
                    tell(&node, dir.path(), &reply);
                }
            })
        };
        together([writer, splitting, reader]);
        node.close();
    });
}

#[test]
fn what_is_told_is_found_after_a_crash_in_the_middle_of_a_checkpoint() {
    in_few_orders(|| {
        let dir = Arc::new(Scratch::new());
        let node = open(dir.path());
        tell(&node, dir.path(), &put(&node, 1, "x"));
        let writer = {
            let (node, dir) = (Arc::clone(&node), Arc::clone(&dir));
            runs(move || {
                for chosen in [2, 3] {
                    tell(&node, dir.path(), &put(&node, chosen, "x"));
                }
            })
        };
        let splitting = {
            let (node, dir) = (Arc::clone(&node), Arc::clone(&dir));
            runs(move || {
                let keys: [&[u8]; 1] = [&key(5)];
                node.split(KS, "p", 1, 2, &keys, &["s", "t"], &clock)
                    .unwrap();
                assert_eq!(after_a_crash(dir.path()).partitions, 2);
            })
        };
        together([writer, splitting, checkpoint(&node)]);
        assert_eq!(after_a_crash(dir.path()).rows, 3);
        node.close();
    });
}

#[test]
fn a_term_that_was_heard_during_a_checkpoint_is_found_after_a_crash() {
    found_though_a_checkpoint_is_made(
        |node| node.see_term(7).unwrap(),
        |found| assert_eq!(found.term, 7),
    );
}

#[test]
fn a_keyspace_that_came_during_a_checkpoint_is_found_after_a_crash() {
    found_though_a_checkpoint_is_made(
        |node| {
            node.serve("other", "q", 1, KEY_LENGTH, b"", b"", true, 0)
                .unwrap();
        },
        |found| assert_eq!(found.partitions, 2),
    );
}

/// What is changed is there after a crash, once it is answered and for good.
fn found_though_a_checkpoint_is_made(change: fn(&Node), check: fn(Report)) {
    in_few_orders(move || {
        let dir = Arc::new(Scratch::new());
        let node = open(dir.path());
        let operator = {
            let (node, dir) = (Arc::clone(&node), Arc::clone(&dir));
            runs(move || {
                change(&node);
                check(after_a_crash(dir.path()));
            })
        };
        together([operator, checkpoint(&node)]);
        check(after_a_crash(dir.path()));
        node.close();
    });
}

#[test]
fn a_term_that_is_answered_is_found_after_a_crash_whoever_said_it_first() {
    in_few_orders(|| {
        let dir = Arc::new(Scratch::new());
        let node = open(dir.path());
        let operator = || {
            let (node, dir) = (Arc::clone(&node), Arc::clone(&dir));
            runs(move || {
                node.see_term(7).unwrap();
                assert_eq!(after_a_crash(dir.path()).term, 7);
            })
        };
        together([operator(), operator()]);
        node.close();
    });
}

thread_local! {
    /// The point that fails, and how often it is passed before. All threads of a case are one of the system's.
    static FAILS: Cell<Option<(Point, u32)>> = const { Cell::new(None) };
}

/// Has `point` fail once, when it has been passed `before` times.
fn fail_at(point: Point, before: u32) {
    static SET: OnceLock<bool> = OnceLock::new();
    let hook = |reached, _: &str| match FAILS.get() {
        Some((point, 0)) if point == reached => {
            FAILS.set(None);
            Err(io::Error::other("made to fail"))
        }
        Some((point, before)) if point == reached => {
            FAILS.set(Some((point, before - 1)));
            Ok(())
        }
        _ => Ok(()),
    };
    assert!(SET.get_or_init(|| set_hook(Box::new(hook))));
    FAILS.set(Some((point, before)));
}

/// Whether the reply may be told; then its row is found after a crash, as in [`tell`].
fn told(node: &Node, dir: &Path, reply: &Reply) -> bool {
    if reply.code != Code::Ok {
        return false;
    }
    let (sender, said) = channel();
    let synced = move |result: Result<(), _>| sender.send(result.is_ok()).unwrap();
    node.when_durable(reply.after, Box::new(synced));
    let durable = said.recv().unwrap();
    assert!(said.recv().is_err(), "told twice");
    if durable {
        let rows = after_a_crash(dir).rows;
        assert!(rows >= reply.version, "version {} of {rows}", reply.version);
    }
    durable
}

#[test]
fn what_is_told_is_found_whatever_a_disk_refuses() {
    /// Points of the log, after which nobody is told anything, and those of a checkpoint, after which all goes on.
    const LOG: [Point; 4] = [
        Point::BeforeLogWrite,
        Point::AfterLogWrite,
        Point::AfterLogSync,
        Point::BeforeSettle,
    ];
    const CHECKPOINT: [Point; 4] = [
        Point::BeforeCheckpoint,
        Point::AfterCheckpointRows,
        Point::AfterManifestWrite,
        Point::AfterLogTrim,
    ];
    in_few_orders(|| {
        let dir = Arc::new(Scratch::new());
        let node = open(dir.path());
        tell(&node, dir.path(), &put(&node, 1, "x"));
        let chosen = shuttle::rand::thread_rng().gen_range(0..LOG.len() + CHECKPOINT.len());
        let before = shuttle::rand::thread_rng().gen_range(0..3);
        let point = *LOG.iter().chain(&CHECKPOINT).nth(chosen).unwrap();
        fail_at(point, before);
        let writer = |rows: [u8; 2]| {
            let (node, dir) = (Arc::clone(&node), Arc::clone(&dir));
            runs(move || {
                let told = rows.map(|row| told(&node, dir.path(), &put(&node, row, "x")));
                assert!(told[0] || !told[1], "the log has failed, and goes on");
            })
        };
        let splitting = {
            let (node, dir) = (Arc::clone(&node), Arc::clone(&dir));
            runs(move || {
                let keys: [&[u8]; 1] = [&key(5)];
                if node
                    .split(KS, "p", 1, 2, &keys, &["s", "t"], &clock)
                    .is_ok()
                {
                    assert_eq!(after_a_crash(dir.path()).partitions, 2);
                }
            })
        };
        let saving = {
            let node = Arc::clone(&node);
            runs(move || drop(node.checkpoint()))
        };
        together([writer([2, 3]), writer([4, 0]), splitting, saving]);
        let struck = FAILS.take().is_none();
        if struck && LOG.contains(&point) {
            assert!(node.failure().is_some(), "{point:?}");
        } else if !struck || CHECKPOINT.contains(&point) {
            assert!(node.failure().is_none(), "{point:?}: {:?}", node.failure());
            assert_eq!(after_a_crash(dir.path()).rows, 5, "{point:?}");
        }
        node.close();
    });
}

fn checkpoint(node: &Arc<Node>) -> Box<dyn FnOnce() + Send> {
    let node = Arc::clone(node);
    runs(move || assert!(node.checkpoint().unwrap()))
}
