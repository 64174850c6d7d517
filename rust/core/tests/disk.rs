//! What a data directory holds after a crash: all that was on disk, and a prefix of what was not; and damage is refused.
//!
//! Longer than 600 lines: one test a kind of crash or damage.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use dstk_core::disk::scratch::Scratch;
use dstk_core::disk::{DiskError, check};
use dstk_core::node::{Node, Outcome, Settings};
use dstk_core::partition::{Op, Reply, Role, Verdict, Waiter};

const KS: &str = "ks";
const LENGTH: usize = 4;

struct Nobody;

impl Waiter for Nobody {
    fn resume(self: Box<Self>, _: Verdict) {}
}

fn settings() -> Settings {
    Settings {
        log_segment_bytes: 16 << 20,
        ..Settings::default()
    }
}

fn open(dir: &Path) -> Arc<Node> {
    Node::open("w", "w/1", settings(), dir).unwrap()
}

/// Ends a life: its directory is free after it.
fn shut(node: Arc<Node>) {
    node.close();
    drop(node);
}

fn execute(node: &Node, op: Op<'_>) -> Reply {
    let store = node.keyspace(KS).unwrap();
    match store.execute(op, 0, || Box::new(Nobody)) {
        Outcome::Done(reply) => reply,
        other => panic!("{other:?}"),
    }
}

fn put(node: &Node, key: u32, value: &[u8]) -> Reply {
    let op = Op::Put {
        key: &key.to_be_bytes(),
        value: value.into(),
        condition: 0,
    };
    execute(node, op)
}

fn get(node: &Node, key: u32) -> Reply {
    let key = key.to_be_bytes();
    execute(node, Op::Get { key: &key })
}

fn serve(node: &Node) {
    node.serve(KS, "p", 1, LENGTH, b"", b"", true, 0).unwrap();
}

fn lift(node: &Node, partition: &str, epoch: u64) {
    node.unfence(KS, partition, epoch, 100, 0).unwrap();
}

fn wait(node: &Node, reply: &Reply) {
    let (sender, synced) = std::sync::mpsc::channel();
    let tell = move |outcome: Result<(), Arc<str>>| sender.send(outcome).unwrap();
    node.when_durable(reply.after, Box::new(tell));
    synced.recv().unwrap().unwrap();
}

/// A copy of a directory as a crash would leave it: whatever the files hold at this moment.
fn copy(from: &Path) -> Scratch {
    let to = Scratch::new();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        // A file may be renamed or removed meanwhile, as it may be before a crash.
        let _ = fs::copy(entry.path(), to.path().join(entry.file_name()));
    }
    to
}

fn last_segment(dir: &Path) -> PathBuf {
    let mut segments: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("log-")
        })
        .collect();
    segments.sort();
    segments.pop().unwrap()
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    let dir = Scratch::new();
    let node = open(dir.path());
    serve(&node);
    for key in 0..1000 {
        put(&node, key, format!("value {key}").as_bytes());
    }
    let last = put(&node, 7, b"newer");
    wait(&node, &last);
    shut(node);
    let node = open(dir.path());
    let state = &node.states(None, 0).unwrap()[0];
    assert_eq!(
        (state.role, state.epoch, state.fenced),
        (Role::Primary, 1, true)
    );
    assert_eq!((state.rows, state.sequence), (1000, 1001));
    lift(&node, "p", 1);
    assert_eq!(get(&node, 7).value.unwrap()[..], *b"newer");
    assert_eq!(get(&node, 8).value.unwrap()[..], *b"value 8");
    assert_eq!(put(&node, 7, b"newest").version, 1002);
}

#[test]
fn the_last_segment_is_written_again_before_anything_of_it_counts() {
    let dir = Scratch::new();
    let node = open(dir.path());
    serve(&node);
    wait(&node, &put(&node, 1, b"one"));
    shut(node);
    shut(open(dir.path()));
    let segment = last_segment(dir.path());
    let held = fs::read(&segment).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let node = open(dir.path());
    // Its pages may count as clean and be on no disk: a sync alone would write nothing.
    let modified = fs::metadata(&segment).unwrap().modified().unwrap();
    assert!(modified > SystemTime::UNIX_EPOCH);
    assert_eq!(fs::read(&segment).unwrap(), held);
    lift(&node, "p", 1);
    assert_eq!(get(&node, 1).value.unwrap()[..], *b"one");
}

#[test]
fn a_restarted_primary_serves_nothing_until_it_is_told_to() {
    let dir = Scratch::new();
    let node = open(dir.path());
    serve(&node);
    shut(node);
    let node = open(dir.path());
    let store = node.keyspace(KS).unwrap();
    let read = store.execute(Op::Get { key: &[0; 4] }, 0, || Box::new(Nobody));
    assert!(matches!(read, Outcome::Parked), "{read:?}");
}

#[test]
fn a_reader_is_told_of_a_write_only_when_it_is_on_disk() {
    let dir = Scratch::new();
    let node = open(dir.path());
    serve(&node);
    let written = put(&node, 1, b"a");
    let read = get(&node, 1);
    assert!(node.is_durable(read.after) || read.after >= written.after);
    wait(&node, &written);
    assert_eq!(get(&node, 1).after, 0);
    let other = put(&node, 2, b"b");
    assert_eq!(
        get(&node, 1).after,
        0,
        "another row's write is not waited for"
    );
    let gone = execute(
        &node,
        Op::Delete {
            key: &2_u32.to_be_bytes(),
            condition: 0,
        },
    );
    let absent = get(&node, 2);
    assert!(gone.after > other.after);
    assert!(node.is_durable(gone.after) || absent.after >= gone.after);
}

/// At every moment of a run of writes, splits and checkpoints, what is in the files is a state that the node was in, and
/// not before the last one that was acknowledged.
#[test]
fn a_crash_at_any_moment_leaves_a_prefix() {
    let dir = Scratch::new();
    let node = open(dir.path());
    serve(&node);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut history = Vec::new();
            for round in 0..u32::MAX {
                let key = round.wrapping_mul(2_654_435_761) % 500;
                let reply = put(&node, key, &round.to_be_bytes());
                history.push((key, round, reply));
                if round % 50_000 == 49_999 {
                    node.checkpoint().unwrap();
                }
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
            history
        });
        let mut crashed = Vec::new();
        for _ in 0..12 {
            std::thread::sleep(Duration::from_millis(20));
            let rows = node.states(None, 0).unwrap()[0].sequence;
            crashed.push((rows, copy(dir.path())));
        }
        stop.store(true, Ordering::Relaxed);
        let history = writer.join().unwrap();
        let mut whole = 0;
        for (acknowledged, copied) in &crashed {
            // A copy is made file by file, so a checkpoint under way may be half in it: that is no crash.
            let Ok(found) = Node::open("w", "w/2", settings(), copied.path()) else {
                continue;
            };
            whole += 1;
            let state = &found.states(None, 0).unwrap()[0];
            assert!(
                state.sequence >= *acknowledged,
                "{} of {acknowledged}",
                state.sequence
            );
            let mut rows = BTreeMap::new();
            for (key, round, reply) in &history {
                if reply.version <= state.sequence {
                    rows.insert(*key, (*round, reply.version));
                }
            }
            lift(&found, "p", 1);
            assert_eq!(state.rows, rows.len() as u64);
            for (key, (round, version)) in rows {
                let row = get(&found, key);
                assert_eq!(
                    (row.version, &row.value.unwrap()[..]),
                    (version, &round.to_be_bytes()[..])
                );
            }
        }
        assert!(whole >= 3, "{whole}");
    });
}

/// The directory of a worker that has ended in good order.
fn fifty_rows() -> Scratch {
    let dir = Scratch::new();
    let node = open(dir.path());
    serve(&node);
    for key in 0..50 {
        let reply = put(&node, key, &[key as u8; 100]);
        wait(&node, &reply);
    }
    shut(node);
    dir
}

#[test]
fn a_torn_end_is_cut_and_nothing_before_it() {
    let dir = fifty_rows();
    let segment = last_segment(dir.path());
    let whole = fs::read(&segment).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let mut lengths = Vec::new();
    for cut in (used - 300..=used).step_by(7) {
        let torn = copy(dir.path());
        fs::write(last_segment(torn.path()), &whole[..cut]).unwrap();
        let found = open(torn.path());
        let state = &found.states(None, 0).unwrap()[0];
        assert!(state.rows >= 47, "{} rows after a cut at {cut}", state.rows);
        lengths.push(state.rows);
        // And it goes on from there, also after another start.
        lift(&found, "p", 1);
        let reply = put(&found, 900, b"after");
        wait(&found, &reply);
        shut(found);
        assert_eq!(
            open(torn.path()).states(None, 0).unwrap()[0].rows,
            state.rows + 1
        );
    }
    assert!(lengths.is_sorted());
}

#[test]
fn damage_in_the_middle_is_refused_and_said() {
    let dir = fifty_rows();
    assert_eq!(check(dir.path()).unwrap().rows, 50);
    let segment = last_segment(dir.path());
    let whole = fs::read(&segment).unwrap();
    for at in [8, 40, 60, 500, 3000] {
        let damaged = copy(dir.path());
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(last_segment(damaged.path()), &bytes).unwrap();
        let Err(refused) = Node::open("w", "w/2", settings(), damaged.path()) else {
            panic!("damage at {at} was not found");
        };
        assert!(matches!(refused, DiskError::Damaged { .. }), "{refused}");
        assert!(check(damaged.path()).is_err());
    }
}

#[test]
fn a_copy_of_a_log_in_a_value_is_no_block() {
    let dir = Scratch::new();
    let node = open(dir.path());
    serve(&node);
    for key in 0..20 {
        let reply = put(&node, key, &[key as u8; 100]);
        wait(&node, &reply);
    }
    // Two copies of the log so far, one of which lies at a multiple of eight at least.
    let copied = fs::read(last_segment(dir.path())).unwrap();
    let copied = &copied[..8192];
    (0..8).for_each(|shift| {
        let value = [&vec![0; shift][..], copied].concat();
        put(&node, 100 + shift as u32, &value);
    });
    let last = put(&node, 200, b"last");
    wait(&node, &last);
    shut(node);
    let segment = last_segment(dir.path());
    let whole = fs::read(&segment).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let torn = copy(dir.path());
    fs::write(last_segment(torn.path()), &whole[..used - 1]).unwrap();
    assert!(open(torn.path()).states(None, 0).unwrap()[0].rows >= 20);
}

#[test]
fn a_log_that_is_gone_is_missed() {
    let dir = Scratch::new();
    let node = open(dir.path());
    serve(&node);
    (0..100).for_each(|key| drop(put(&node, key, &[7; 100])));
    assert!(node.checkpoint().unwrap());
    shut(node);
    fs::remove_file(last_segment(dir.path())).unwrap();
    let refused = check(dir.path()).unwrap_err();
    assert!(matches!(refused, DiskError::Damaged { .. }), "{refused}");
}

#[test]
fn a_keyspace_that_comes_while_a_checkpoint_is_made_is_in_it_or_in_the_log() {
    let dir = Scratch::new();
    let node = open(dir.path());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let checkpointing = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                node.checkpoint().unwrap();
            }
        });
        for number in 0..200 {
            let keyspace = format!("ks{number}");
            node.serve(&keyspace, "p", 1, LENGTH, b"", b"", true, 0)
                .unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        checkpointing.join().unwrap();
    });
    shut(node);
    assert_eq!(open(dir.path()).states(None, 0).unwrap().len(), 200);
}

#[test]
fn a_checkpoint_that_fails_leaves_nothing_behind() {
    let dir = Scratch::new();
    let node = open(dir.path());
    serve(&node);
    (0..100).for_each(|key| drop(put(&node, key, &[7; 100])));
    // Where the new manifest is to be there is a directory: it cannot be made.
    fs::create_dir(dir.path().join("checkpoint.new")).unwrap();
    assert!(node.checkpoint().is_err());
    let rows = |entry: &std::io::Result<fs::DirEntry>| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_str().unwrap().starts_with("rows-")
    };
    assert_eq!(fs::read_dir(dir.path()).unwrap().filter(rows).count(), 0);
    fs::remove_dir(dir.path().join("checkpoint.new")).unwrap();
    assert!(node.checkpoint().unwrap());
    shut(node);
    assert_eq!(check(dir.path()).unwrap().rows, 100);
}

#[test]
fn damage_in_a_checkpoint_is_refused_and_said() {
    let dir = Scratch::new();
    let node = open(dir.path());
    serve(&node);
    (0..500).for_each(|key| drop(put(&node, key, &[7; 100])));
    assert!(node.checkpoint().unwrap());
    shut(node);
    assert_eq!(check(dir.path()).unwrap().log_records, 0);
    let names = ["checkpoint", "rows-000000000000"];
    for name in names {
        let damaged = copy(dir.path());
        let path = damaged.path().join(name);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let refused = check(damaged.path()).unwrap_err();
        assert!(matches!(refused, DiskError::Damaged { .. }), "{refused}");
    }
    let gone = copy(dir.path());
    fs::remove_file(gone.path().join(names[1])).unwrap();
    assert!(check(gone.path()).is_err());
}

#[test]
fn rows_that_are_cut_off_or_go_on_are_refused_wherever() {
    let dir = Scratch::new();
    let node = open(dir.path());
    serve(&node);
    (0..20).for_each(|key| drop(put(&node, key, &[7; 100_000])));
    assert!(node.checkpoint().unwrap());
    shut(node);
    let name = "rows-000000000000";
    let bytes = fs::read(dir.path().join(name)).unwrap();
    let mut borders = vec![0];
    while let Some(length) = bytes
        .get(borders[borders.len() - 1]..)
        .filter(|b| b.len() > 4)
    {
        let length = u32::from_le_bytes(length[..4].try_into().unwrap());
        borders.push(borders[borders.len() - 1] + 4 + length as usize);
    }
    assert_eq!(borders.pop(), Some(bytes.len()));
    assert!(borders.len() > 4, "{borders:?}");
    let refusal = |bytes: &[u8]| {
        let damaged = copy(dir.path());
        fs::write(damaged.path().join(name), bytes).unwrap();
        let refused = check(damaged.path()).unwrap_err();
        assert!(matches!(refused, DiskError::Damaged { .. }), "{refused}");
        assert!(refused.to_string().contains(name), "{refused}");
        refused.to_string()
    };
    for border in borders {
        let counted = refusal(&bytes[..border]);
        assert!(counted.contains("the checkpoint says 20"), "{counted}");
        for inside in [1, 4, 5, 1000] {
            let cut = refusal(&bytes[..border + inside]);
            assert!(cut.contains("cut off"), "{border} + {inside}: {cut}");
        }
        // A length that is another one, and so big that it must not be believed.
        let mut long = bytes.clone();
        long[border..border + 4].fill(0xff);
        refusal(&long);
        let again = [&bytes[..], &bytes[border..]].concat();
        refusal(&again);
    }
    for more in [&[0][..], &[0; 4], &[0; 5], &[0xff; 100]] {
        refusal(&[&bytes[..], more].concat());
    }
}

#[test]
fn a_directory_has_one_user_and_one_owner() {
    let dir = Scratch::new();
    let node = open(dir.path());
    let busy = Node::open("w", "w/2", settings(), dir.path())
        .err()
        .unwrap();
    assert!(matches!(busy, DiskError::Busy(_)), "{busy}");
    shut(node);
    // From the first day on, before any checkpoint.
    let foreign = Node::open("v", "v/1", settings(), dir.path())
        .err()
        .unwrap();
    assert!(matches!(foreign, DiskError::Foreign { .. }), "{foreign}");
}

#[test]
fn the_log_is_let_go_after_a_checkpoint() {
    let dir = Scratch::new();
    let node = open(dir.path());
    serve(&node);
    let value = vec![1; 1 << 20];
    for round in 0..100 {
        let reply = put(&node, round % 4, &value);
        wait(&node, &reply);
    }
    node.checkpoint().unwrap();
    node.checkpoint().unwrap();
    let log = |path: &PathBuf| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("log-")
    };
    let left = || {
        let entries = fs::read_dir(dir.path()).unwrap();
        entries
            .map(|entry| entry.unwrap().path())
            .filter(log)
            .count()
    };
    // A thread of its own takes them away.
    while left() > 2 {
        std::thread::sleep(Duration::from_millis(5));
    }
    shut(node);
    assert_eq!(open(dir.path()).states(None, 0).unwrap()[0].rows, 4);
}

#[test]
fn a_partition_that_became_proxy_after_a_checkpoint_is_saved_without_rows() {
    let dir = Scratch::new();
    let node = open(dir.path());
    serve(&node);
    (0..500).for_each(|key| drop(put(&node, key, &[7; 100])));
    assert!(node.checkpoint().unwrap());
    node.proxy(KS, "p", 2, "other", "127.0.0.1:1", 0).unwrap();
    node.checkpoint().unwrap();
    assert_eq!(rows_files(dir.path()), 0);
    shut(node);
    let node = open(dir.path());
    let state = &node.states(None, 0).unwrap()[0];
    assert_eq!((state.role, state.epoch, state.rows), (Role::Proxy, 2, 0));
}

fn rows_files(dir: &Path) -> usize {
    let names = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("rows-")).count()
}

#[test]
fn a_term_is_remembered() {
    let dir = Scratch::new();
    let node = open(dir.path());
    node.see_term(7).unwrap();
    assert!(node.see_term(6).is_err());
    shut(node);
    let node = open(dir.path());
    assert_eq!(node.term(), 7);
    node.checkpoint().unwrap();
    shut(node);
    assert!(open(dir.path()).see_term(6).is_err());
}

#[test]
fn a_keyspace_of_memory_leaves_nothing_on_disk() {
    let dir = Scratch::new();
    let node = open(dir.path());
    node.serve(KS, "p", 1, LENGTH, b"", b"", false, 0).unwrap();
    assert_eq!(put(&node, 1, b"a").after, 0);
    shut(node);
    assert!(open(dir.path()).states(None, 0).unwrap().is_empty());
}

#[test]
fn a_directory_says_who_made_it_and_which_lives_used_it() {
    let dir = Scratch::new();
    let begin = |life: &str| Node::open("w", life, settings(), dir.path()).unwrap();
    let first = begin("pod/a");
    let origin = first.origin().unwrap().clone();
    assert_eq!(
        (&*origin.directory, origin.starts, origin.began),
        ("a", 1, 0)
    );
    assert_eq!(origin.lives, ["a"]);
    serve(&first);
    wait(&first, &put(&first, 1, b"one"));
    let reached = first.durable_position();
    shut(first);
    let second = begin("pod/b");
    let origin = second.origin().unwrap().clone();
    assert_eq!((&*origin.directory, origin.starts), ("a", 2));
    assert_eq!(origin.lives, ["a", "b"]);
    assert_eq!(origin.began, reached, "what was on disk is there");
    shut(second);
}

#[test]
fn a_copy_that_is_put_back_says_so_though_all_its_checksums_hold() {
    let dir = Scratch::new();
    let begin = |dir: &Path, life: &str| Node::open("w", life, settings(), dir).unwrap();
    let node = begin(dir.path(), "pod/a");
    serve(&node);
    wait(&node, &put(&node, 1, b"old"));
    let copied = copy(dir.path());
    wait(&node, &put(&node, 1, b"new"));
    let reached = node.durable_position();
    shut(node);
    let next = begin(dir.path(), "pod/b");
    shut(next);

    let same_life = begin(copied.path(), "pod/c");
    let origin = same_life.origin().unwrap();
    assert!(
        origin.began < reached,
        "its log is shorter than what life a had on disk"
    );
    assert_eq!(origin.lives, ["a", "c"], "it knows nothing of life b");
    shut(same_life);
}

#[test]
fn what_one_place_says_of_the_directory_is_enough_and_what_neither_says_is_damage() {
    let dir = Scratch::new();
    for life in ["pod/a", "pod/b"] {
        shut(Node::open("w", life, settings(), dir.path()).unwrap());
    }
    let path = dir.path().join("identity");
    let whole = fs::read(&path).unwrap();
    for place in [0, whole.len() / 2] {
        let mut torn = whole.clone();
        torn[place + 20] ^= 1;
        fs::write(&path, &torn).unwrap();
        let node = Node::open("w", "pod/c", settings(), dir.path()).unwrap();
        assert_eq!(node.origin().unwrap().directory, "a");
        shut(node);
    }
    fs::write(&path, vec![1; whole.len()]).unwrap();
    let error = Node::open("w", "pod/d", settings(), dir.path())
        .err()
        .unwrap();
    assert!(matches!(error, DiskError::Damaged { .. }), "{error}");
    assert!(check(dir.path()).is_err());
}

#[test]
fn of_very_many_lives_the_last_are_remembered() {
    let dir = Scratch::new();
    for life in 0..40 {
        let node = Node::open("w", &format!("pod/{life}"), settings(), dir.path()).unwrap();
        shut(node);
    }
    let node = Node::open("w", "pod/last", settings(), dir.path()).unwrap();
    let origin = node.origin().unwrap();
    assert_eq!((origin.starts, &*origin.directory), (41, "0"));
    assert_eq!(origin.lives.len(), 32);
    assert_eq!(origin.lives.last().map(String::as_str), Some("last"));
}

#[test]
fn a_load_names_no_sequence_that_a_crash_may_take_back() {
    let dir = Scratch::new();
    let node = open(dir.path());
    serve(&node);
    for round in 0..8 {
        let replies: Vec<Reply> = (0..50).map(|key| put(&node, key, &[round])).collect();
        let told = node.loads(0)[0].sequence;
        let copied = copy(dir.path());
        let next = open(copied.path());
        let kept = next.states(None, 0).unwrap()[0].sequence;
        assert!(told <= kept, "{told} was told, {kept} is what a crash left");
        shut(next);
        let last = replies.last().unwrap();
        wait(&node, last);
        assert_eq!(
            node.loads(0)[0].sequence,
            last.version,
            "what is on disk is told"
        );
    }
    shut(node);
}
