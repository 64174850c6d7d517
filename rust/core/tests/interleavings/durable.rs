//! What is told of a node that writes down: never of what a crash may take back, and to everybody in the end.
//!
//! Under the checker a file holds what was synced alone, so a copy of the directory is what a crash leaves.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use dstk_core::disk::scratch::Scratch;
use dstk_core::disk::{Report, check};
use dstk_core::faults::{Point, set_hook};
use dstk_core::node::{Node, Settings};
use dstk_core::partition::{Code, Reply};
use parking_lot::Mutex;
use shuttle::rand::Rng;
use shuttle::sync::mpsc::channel;
use shuttle::thread::yield_now;

use super::harness::*;
use super::world::*;

fn settings() -> Settings {
    Settings {
        // Files are made for every order that is tried.
        log_segment_bytes: 16 << 10,
        ..Settings::default()
    }
}

fn open(dir: &Path) -> Arc<Node> {
    let node = Node::open("a", "a/1", settings(), dir).unwrap();
    node.serve(KS, "p", 1, KEY_LENGTH, b"", b"", true, 0)
        .unwrap();
    node
}

/// What a crash at this moment leaves.
fn image(dir: &Path) -> Scratch {
    let image = Scratch::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let bytes = std::fs::read(entry.path()).unwrap();
        std::fs::write(image.path().join(entry.file_name()), bytes).unwrap();
    }
    image
}

/// What is found after a crash at this moment.
fn after_a_crash(dir: &Path) -> Report {
    check(image(dir).path()).unwrap()
}

/// The rows that the next life serves after a crash at this moment, and of how many partitions.
fn next_life(dir: &Path) -> (BTreeSet<u8>, usize) {
    let image = image(dir);
    let node = Node::open("a", "a/2", settings(), image.path()).unwrap();
    let states = node.states(None, 0).unwrap();
    for state in &states {
        let (name, epoch, token) = (&state.partition, state.epoch, state.fence_token);
        node.unfence(KS, name, epoch, token, 0).unwrap();
    }
    let rows = (0..=u8::MAX).filter(|row| get(&node, *row).code == Code::Ok);
    let found = (rows.collect(), states.len());
    node.close();
    found
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

/// Writes the row, as soon as there is room in the log; whether it may be told. Then it is found after a crash, as in
/// [`tell`].
fn told(node: &Node, dir: &Path, row: u8) -> bool {
    // Of a few such the log goes on in another file.
    let value = "x".repeat(5 << 10);
    let reply = loop {
        let reply = put(node, row, &value);
        // The next file is being made.
        let reason = reply.message.as_deref().unwrap_or_default();
        if !reason.ends_with("try again") {
            break reply;
        }
        yield_now();
    };
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
    /// After these nobody is told anything any more.
    const ENDS: [Point; 8] = [
        Point::BeforeLogWrite,
        Point::AfterLogWrite,
        Point::AfterLogSync,
        Point::BeforeLogFile,
        Point::AfterLogHeader,
        Point::AfterLogFile,
        Point::BeforeSettle,
        Point::AfterManifestRename,
    ];
    /// Of a checkpoint; after these all goes on.
    const GOES_ON: [Point; 4] = [
        Point::BeforeCheckpoint,
        Point::AfterCheckpointRows,
        Point::AfterManifestWrite,
        Point::AfterLogTrim,
    ];
    in_few_orders(|| {
        let dir = Arc::new(Scratch::new());
        let node = open(dir.path());
        assert!(told(&node, dir.path(), 1));
        assert!(node.checkpoint().unwrap());
        let chosen = shuttle::rand::thread_rng().gen_range(0..ENDS.len() + GOES_ON.len());
        let before = shuttle::rand::thread_rng().gen_range(0..3);
        let point = *ENDS.iter().chain(&GOES_ON).nth(chosen).unwrap();
        fail_at(point, before);
        let known = Arc::new(Mutex::new((BTreeSet::from([1]), 1)));
        let writer = |rows: [u8; 2]| {
            let (node, dir, known) = (Arc::clone(&node), Arc::clone(&dir), Arc::clone(&known));
            runs(move || {
                let told = rows.map(|row| told(&node, dir.path(), row));
                assert!(told[0] || !told[1], "the log has failed, and goes on");
                let rows = rows.into_iter().zip(told).filter(|(_, told)| *told);
                known.lock().0.extend(rows.map(|(row, _)| row));
            })
        };
        let splitting = {
            let (node, known) = (Arc::clone(&node), Arc::clone(&known));
            runs(move || {
                let keys: [&[u8]; 1] = [&key(5)];
                let split = node.split(KS, "p", 1, 2, &keys, &["s", "t"], &clock);
                known.lock().1 += usize::from(split.is_ok());
            })
        };
        let saving = {
            let node = Arc::clone(&node);
            runs(move || drop(node.checkpoint()))
        };
        together([writer([2, 6]), writer([7, 3]), splitting, saving]);
        let struck = FAILS.take().is_none();
        let is_over = struck && ENDS.contains(&point);
        let failure = node.failure();
        assert_eq!(failure.is_some(), is_over, "{point:?}: {failure:?}");
        if let Some(reason) = failure {
            assert!(reason.contains("made to fail"), "{point:?}: {reason}");
            let refused = put(&node, 8, "x");
            assert_eq!(refused.code, Code::Limit, "{point:?}");
            let text = refused.message.unwrap();
            assert!(text.contains(&*reason), "{point:?}: {text}");
            assert!(node.checkpoint().is_err(), "{point:?}");
        } else {
            assert!(told(&node, dir.path(), 8), "{point:?}");
            assert!(node.checkpoint().unwrap(), "{point:?}");
            *known.lock() = (BTreeSet::from([1, 2, 3, 6, 7, 8]), 2);
        }
        let (rows, partitions) = next_life(dir.path());
        let (told, parts) = &*known.lock();
        assert!(told.is_subset(&rows), "{point:?}: {told:?}, {rows:?}");
        assert!(partitions >= *parts, "{point:?}");
        node.close();
        assert!(told.is_subset(&next_life(dir.path()).0), "{point:?}");
    });
}

fn checkpoint(node: &Arc<Node>) -> Box<dyn FnOnce() + Send> {
    let node = Arc::clone(node);
    runs(move || assert!(node.checkpoint().unwrap()))
}
