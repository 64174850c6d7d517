//! What a start takes beside the rows that it leaves in memory.
//!
//! Alone in its file: it counts what all of the process allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use dstk_core::disk::scratch::Scratch;
use dstk_core::node::{Node, Outcome, Settings};
use dstk_core::partition::{Code, Op, Verdict, Waiter};

struct Counting;

/// Bytes that are allocated, and the most that were at once.
static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does all of it; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promises are those that it wants.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above; what is given back came from there.
        unsafe { System.dealloc(at, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Nobody;

impl Waiter for Nobody {
    fn resume(self: Box<Self>, _: Verdict) {}
}

const ROWS: u32 = 960;
const VALUE_BYTES: usize = 100_000;

fn settings() -> Settings {
    Settings {
        // A start reads a file of the log at once, while all rows of the checkpoint are there.
        log_segment_bytes: 16 << 20,
        ..Settings::default()
    }
}

#[test]
fn a_start_takes_little_beside_the_rows_however_big_a_partition() {
    let dir = Scratch::new();
    let node = Node::open("w", "w/1", settings(), dir.path()).unwrap();
    node.serve("ks", "p", 1, 4, b"", b"", true, 0).unwrap();
    let store = node.keyspace("ks").unwrap();
    for key in 0..ROWS {
        let reply = loop {
            let op = Op::Put {
                key: &key.to_be_bytes(),
                value: vec![7; VALUE_BYTES].into(),
                condition: 0,
            };
            match store.execute(op, 0, || Box::new(Nobody)) {
                Outcome::Done(reply) if reply.code == Code::Ok => break reply,
                // The log's next file is being made.
                Outcome::Done(reply) if reply.code == Code::Limit => std::thread::yield_now(),
                other => panic!("{other:?}"),
            }
        };
        let (sender, synced) = std::sync::mpsc::channel();
        node.when_durable(
            reply.after,
            Box::new(move |outcome| sender.send(outcome).unwrap()),
        );
        synced.recv().unwrap().unwrap();
    }
    node.checkpoint().unwrap();
    node.close();
    drop((store, node));
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let node = Node::open("w", "w/2", settings(), dir.path()).unwrap();
    assert_eq!(node.states(None, 0).unwrap()[0].rows, u64::from(ROWS));
    let rows = NOW.load(Ordering::Relaxed) - before;
    let beside = MOST.load(Ordering::Relaxed) - before - rows;
    let expected = ROWS as usize * VALUE_BYTES;
    assert!(rows >= expected, "{rows} bytes for rows of {expected}");
    // A file of the log, and a few chunks.
    assert!(beside < 32 << 20, "{beside} bytes beside {rows} of rows");
    node.close();
}
