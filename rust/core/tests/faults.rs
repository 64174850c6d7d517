//! What a crash leaves at each fault point of the data directory, and what comes of a failure there.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use dstk_core::disk::check;
use dstk_core::disk::scratch::Scratch;
use dstk_core::faults::{Point, set_hook};
use dstk_core::node::{Node, Outcome, Settings};
use dstk_core::partition::{Op, Verdict, Waiter};

const KS: &str = "ks";

/// Those that a data directory has.
const DISK: [Point; 14] = [
    Point::BeforeLogWrite,
    Point::AfterLogWrite,
    Point::AfterLogSync,
    Point::BeforeLogFile,
    Point::AfterLogHeader,
    Point::AfterLogFile,
    Point::AfterSpareRename,
    Point::AfterSpareFill,
    Point::BeforeCheckpoint,
    Point::AfterCheckpointRows,
    Point::AfterManifestWrite,
    Point::AfterManifestRename,
    Point::AfterLogTrim,
    Point::AfterRecovery,
];

type Deed = Arc<dyn Fn(Point) -> io::Result<()> + Send + Sync>;

static DEED: Mutex<Option<Deed>> = Mutex::new(None);

/// The one test that has the hook, for as long as it has this.
struct Hooked(#[allow(dead_code, reason = "it is held")] MutexGuard<'static, ()>);

/// Has `deed` done at every point until the answer is dropped.
fn at_every_point(deed: impl Fn(Point) -> io::Result<()> + Send + Sync + 'static) -> Hooked {
    static ONE: Mutex<()> = Mutex::new(());
    static SET: OnceLock<bool> = OnceLock::new();
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let hook = |point, _: &str| {
        let deed = DEED.lock().unwrap().clone();
        deed.map_or(Ok(()), |deed| deed(point))
    };
    assert!(SET.get_or_init(|| set_hook(Box::new(hook))));
    *DEED.lock().unwrap() = Some(Arc::new(deed));
    Hooked(one)
}

impl Drop for Hooked {
    fn drop(&mut self) {
        *DEED.lock().unwrap() = None;
    }
}

/// Has it fail when `point` is next reached once the answer is set, and then no more.
fn fail_at(point: Point) -> (Hooked, Arc<AtomicBool>) {
    let armed = Arc::new(AtomicBool::new(false));
    let arm = Arc::clone(&armed);
    let hooked = at_every_point(move |reached| {
        if reached == point && arm.swap(false, Ordering::Relaxed) {
            return Err(io::Error::other("made to fail"));
        }
        Ok(())
    });
    (hooked, armed)
}

struct Nobody;

impl Waiter for Nobody {
    fn resume(self: Box<Self>, _: Verdict) {}
}

fn open(dir: &Path) -> Arc<Node> {
    let settings = Settings {
        log_segment_bytes: 16 << 20,
        ..Settings::default()
    };
    Node::open("w", "w/1", settings, dir).unwrap()
}

fn serve(node: &Node) {
    node.serve(KS, "p", 1, 4, b"", b"", true, 0).unwrap();
}

fn shut(node: Arc<Node>) {
    node.close();
    drop(node);
}

/// Writes one row once there is room, and waits until it is on disk; why it never will be.
fn put(node: &Node, key: u32, value: &[u8]) -> Result<(), String> {
    loop {
        match put_now(node, key, value) {
            // The log's next file is being made.
            Err(reason) if reason.ends_with("slower than the writers: try again") => {
                std::thread::yield_now();
            }
            outcome => return outcome,
        }
    }
}

fn put_now(node: &Node, key: u32, value: &[u8]) -> Result<(), String> {
    let store = node.keyspace(KS).unwrap();
    let op = Op::Put {
        key: &key.to_be_bytes(),
        value: value.into(),
        condition: 0,
    };
    let Outcome::Done(reply) = store.execute(op, 0, || Box::new(Nobody)) else {
        panic!("it is served, and not fenced");
    };
    if reply.after == 0 {
        return Err(reply.message.unwrap_or_default());
    }
    let (sender, synced) = std::sync::mpsc::channel();
    let tell = move |outcome: Result<(), Arc<str>>| sender.send(outcome).unwrap();
    node.when_durable(reply.after, Box::new(tell));
    synced.recv().unwrap().map_err(|reason| reason.to_string())
}

/// What is in the directory at this moment, as a crash would leave it.
fn copy(from: &Path) -> Scratch {
    let to = Scratch::new();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        // What is made ahead is nothing yet, and big.
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.starts_with("spare-") {
            // Another thread may rename or remove it meanwhile.
            let _ = fs::copy(&path, to.path().join(name));
        }
    }
    to
}

#[test]
fn every_point_has_a_name_and_a_sentence_of_its_own() {
    let names: BTreeMap<_, _> = Point::ALL
        .iter()
        .map(|point| (point.name(), point.said()))
        .collect();
    assert_eq!(names.len(), Point::ALL.len());
    for (name, said) in names {
        let when = name.strip_prefix("node.").unwrap();
        assert!(
            when.starts_with("before-") || when.starts_with("after-"),
            "{name}"
        );
        assert!(said.ends_with('.') && !said.starts_with(' '), "{said:?}");
    }
}

/// One row after the other is written, in keys of their own: so many rows as were acknowledged are there, and one more at
/// the most.
#[test]
fn a_crash_at_any_point_leaves_all_that_was_acknowledged() {
    /// Crashes at each point.
    const OF_EACH: u64 = 3;
    let dir = Scratch::new();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let struck: Arc<Mutex<BTreeMap<Point, u64>>> = Arc::default();
    let (at, acked, seen) = (
        dir.path().to_owned(),
        Arc::clone(&acknowledged),
        Arc::clone(&struck),
    );
    // One crash at a time: what other threads do to the files meanwhile waits for it.
    let looking = Mutex::new(());
    let hooked = at_every_point(move |point| {
        let _one = looking.lock().unwrap();
        let times = *seen.lock().unwrap().entry(point).or_default();
        if times < OF_EACH {
            let before = acked.load(Ordering::Acquire);
            let left = check(copy(&at).path()).unwrap_or_else(|error| panic!("{point:?}: {error}"));
            assert!(
                left.rows == before || left.rows == before + 1,
                "{point:?}: {} rows of {before}",
                left.rows
            );
            *seen.lock().unwrap().entry(point).or_default() += 1;
        }
        Ok(())
    });
    let node = open(dir.path());
    serve(&node);
    // So that the log goes on in other files now and then.
    let value = vec![7; 256 << 10];
    for key in 0..200 {
        put(&node, key, &value).unwrap();
        acknowledged.fetch_add(1, Ordering::AcqRel);
        if key % 40 == 39 {
            node.checkpoint().unwrap();
        }
    }
    shut(node);
    // Another life uses the files again that this one has left.
    shut(open(dir.path()));
    drop(hooked);
    let struck = struck.lock().unwrap();
    assert!(
        DISK.iter().all(|point| struck.contains_key(point)),
        "{struck:?}"
    );
}

#[test]
fn a_checkpoint_that_fails_at_any_point_takes_nothing_away() {
    let points = [
        Point::BeforeCheckpoint,
        Point::AfterCheckpointRows,
        Point::AfterManifestWrite,
        Point::AfterManifestRename,
        Point::AfterLogTrim,
    ];
    for point in points {
        let dir = Scratch::new();
        let (hooked, armed) = fail_at(point);
        let node = open(dir.path());
        serve(&node);
        for key in 0..10 {
            put(&node, key, b"before").unwrap();
        }
        node.checkpoint().unwrap();
        for key in 10..20 {
            put(&node, key, b"after").unwrap();
        }
        armed.store(true, Ordering::Relaxed);
        assert!(node.checkpoint().is_err(), "{point:?}");
        assert_eq!(
            check(copy(dir.path()).path()).unwrap().rows,
            20,
            "{point:?}"
        );
        // Where nobody knows which of the two counts, this life is over.
        let is_over = point == Point::AfterManifestRename;
        assert_eq!(node.failure().is_some(), is_over, "{point:?}");
        assert_eq!(put(&node, 20, b"later").is_err(), is_over, "{point:?}");
        assert_eq!(node.checkpoint().is_err(), is_over, "{point:?}");
        shut(node);
        let node = open(dir.path());
        node.checkpoint().unwrap();
        shut(node);
        let rows = if is_over { 20 } else { 21 };
        assert_eq!(check(dir.path()).unwrap().rows, rows, "{point:?}");
        drop(hooked);
    }
}

#[test]
fn a_log_that_fails_at_any_point_ends_this_life_and_no_other() {
    let points = [
        Point::BeforeLogWrite,
        Point::AfterLogWrite,
        Point::AfterLogSync,
        Point::BeforeLogFile,
        Point::AfterLogHeader,
        Point::AfterLogFile,
    ];
    for point in points {
        let dir = Scratch::new();
        let (hooked, armed) = fail_at(point);
        let node = open(dir.path());
        serve(&node);
        put(&node, 0, b"first").unwrap();
        armed.store(true, Ordering::Relaxed);
        let value = vec![7; 1 << 20];
        let mut written = (1..40).map(|key| (key, put(&node, key, &value)));
        let (key, refused) = written.find(|(_, put)| put.is_err()).unwrap();
        let acknowledged = u64::from(key);
        let reason = node
            .failure()
            .unwrap_or_else(|| panic!("{point:?}: no failure, and {refused:?}"));
        assert!(reason.contains("made to fail"), "{point:?}: {reason}");
        assert!(put(&node, 50, b"later").is_err(), "{point:?}");
        shut(node);
        let rows = open(dir.path()).states(None, 0).unwrap()[0].rows;
        assert!(
            rows == acknowledged || rows == acknowledged + 1,
            "{point:?}: {rows} rows of {acknowledged}"
        );
        drop(hooked);
    }
}
