//! Reading the log of a partition: nothing is missed, nobody sleeps through it, nothing stays behind.

use std::sync::Arc;

use dstk_core::disk::scratch::Scratch;
use dstk_core::log::Effect;
use dstk_core::node::{LogReader, Next, Node, Settings};
use shuttle::sync::mpsc::channel;

use super::harness::*;
use super::world::*;

fn open(node: &Node) -> LogReader {
    node.open_reader(KS, "p", 1, b"").unwrap().reader
}

/// Reads until there is a fence and nothing before it any more, or to the end; sleeps while there is nothing. The last
/// sequence read.
fn read_to_the_fence(reader: &mut LogReader) -> u64 {
    read_until(reader, u64::MAX)
}

/// The same, but no further than `sequence`.
fn read_until(reader: &mut LogReader, sequence: u64) -> u64 {
    let (wake, woken) = channel();
    reader.set_wake(Arc::new(move || _ = wake.send(())));
    let mut last = 0;
    while last < sequence {
        match reader.next(1) {
            Next::Batch(batch) => {
                assert_eq!(batch.first, last + 1, "consecutive");
                let count = batch.effects.len() as u64;
                assert!(
                    batch
                        .effects
                        .iter()
                        .all(|effect| matches!(effect, Effect::Put { .. }))
                );
                last += count;
                reader.acknowledge(last);
            }
            Next::Empty => match reader.source_state() {
                Some(state) if state.fenced && state.sequence == last => return last,
                // Whatever came since it was empty wakes it; were it not so, all would sleep, and the checker says so.
                _ => woken.recv().unwrap(),
            },
            Next::Ended(_) => return last,
        }
    }
    last
}

#[test]
fn an_idle_reader_is_woken_by_a_write() {
    in_many_orders(|| {
        let node = primary("a");
        let mut reader = open(&node);
        let reading = runs(move || assert_eq!(read_until(&mut reader, 3), 3));
        let writing = {
            let node = Arc::clone(&node);
            runs(move || (0..3).for_each(|number| drop(put(&node, number, "x"))))
        };
        together([reading, writing]);
    });
}

#[test]
fn an_idle_reader_is_woken_by_a_fence() {
    in_many_orders(|| {
        let node = primary("a");
        let mut reader = open(&node);
        let reading = runs(move || assert_eq!(read_to_the_fence(&mut reader), 3));
        let writing = {
            let node = Arc::clone(&node);
            runs(move || {
                (0..3).for_each(|number| drop(put(&node, number, "x")));
                node.fence(KS, "p", 1, 1, 0).unwrap();
            })
        };
        together([reading, writing]);
        assert_eq!(counter(&node, "log_memory_bytes"), 0);
        assert_eq!(counter(&node, "log_readers"), 0);
    });
}

#[test]
fn an_idle_reader_is_woken_by_the_end_of_the_log() {
    in_many_orders(|| {
        let node = primary("a");
        let mut reader = open(&node);
        let reading = runs(move || assert!(read_to_the_fence(&mut reader) <= 1));
        let writing = {
            let node = Arc::clone(&node);
            runs(move || {
                put(&node, 7, "x");
                let keys: [&[u8]; 1] = [&key(5)];
                node.split(KS, "p", 1, 2, &keys, &["s", "t"], &clock)
                    .unwrap();
            })
        };
        together([reading, writing]);
    });
}

#[test]
fn readers_that_come_and_go_leave_nothing_behind_and_take_nothing_from_others() {
    in_many_orders(|| {
        let node = primary("a");
        let mut reader = open(&node);
        let reading = runs(move || assert_eq!(read_to_the_fence(&mut reader), 3));
        let passing = {
            let node = Arc::clone(&node);
            runs(move || {
                let mut reader = open(&node);
                let _ = reader.next(1);
                drop(reader);
                drop(open(&node));
            })
        };
        let writing = {
            let node = Arc::clone(&node);
            runs(move || {
                (0..3).for_each(|number| drop(put(&node, number, "x")));
                node.fence(KS, "p", 1, 1, 0).unwrap();
            })
        };
        together([reading, passing, writing]);
        assert_eq!(counter(&node, "log_memory_bytes"), 0);
        assert_eq!(counter(&node, "log_readers"), 0);
    });
}

#[test]
fn what_was_spilled_is_read_whether_it_is_on_disk_already_or_not() {
    in_many_orders(|| {
        let dir = Scratch::new();
        let settings = Settings {
            // A few of the writes below.
            log_memory_bytes: 300,
            spill_bytes: 1 << 20,
            spill_dir: Some(dir.path().into()),
            ..Settings::default()
        };
        let node = node_with("a", settings);
        node.serve(KS, "p", 1, KEY_LENGTH, b"", b"", false, 0)
            .unwrap();
        let mut reader = open(&node);
        let reading = runs(move || {
            let last = read_to_the_fence(&mut reader);
            // Were the spill's thread slow, the reader is given up, as it has to be.
            assert!(last <= 6);
            if last < 6 {
                assert!(matches!(reader.next(1), Next::Ended(_)));
            }
        });
        let writing = {
            let node = Arc::clone(&node);
            runs(move || {
                (0..6).for_each(|number| drop(put(&node, number, "twenty bytes or so..")));
                node.fence(KS, "p", 1, 1, 0).unwrap();
            })
        };
        together([reading, writing]);
        assert_eq!(counter(&node, "log_spilled_bytes"), 0);
    });
}

#[test]
fn no_more_readers_are_let_in_than_may_be() {
    in_many_orders(|| {
        let settings = Settings {
            max_readers: 1,
            ..Settings::default()
        };
        let node = node_with("a", settings);
        node.serve(KS, "p", 1, KEY_LENGTH, b"", b"", false, 0)
            .unwrap();
        let opening = || {
            let node = Arc::clone(&node);
            runs(move || {
                let plan = node.open_reader(KS, "p", 1, b"");
                assert!(counter(&node, "log_readers") <= 1);
                drop(plan);
            })
        };
        together([opening(), opening()]);
        assert_eq!(counter(&node, "log_readers"), 0);
    });
}
