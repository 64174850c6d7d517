//! A partition moves: snapshot, log, fence, promotion, proxy; and what happens when one of them goes wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dstk_core::node::{FollowError, Node, Outcome, Refusal, Settings};
use dstk_core::partition::{Op, Role};

use super::harness::*;

/// 40 rows: at least four chunks of the size that the harness sends.
fn loaded(name: &str) -> Arc<Node> {
    let node = primary(name);
    for number in 0..40 {
        put(&node, number, "some bytes of text");
    }
    node
}

#[test]
fn a_move_takes_every_write_along() {
    let (a, b) = (loaded("a"), node("b"));
    let spec = follow(&b, "p", 1, b"", b"", &a);
    assert_eq!(state(&b, "p").role, Role::Loading);
    let mut stream = Stream::open(&a, &b, &spec).unwrap();
    let loaded = state(&b, "p");
    assert_eq!((loaded.role, loaded.rows), (Role::Following, 40));
    assert!(loaded.follow.unwrap().caught_up);
    put(&a, 3, "newer");
    delete(&a, 4, 0);
    let fenced = a.fence(KS, "p", 1, 1, 0).unwrap();
    let early = b
        .promote(KS, "p", 2, fenced.sequence, fenced.digest, 0)
        .unwrap_err();
    assert!(
        matches!(&early, Refusal::NotReady(text) if text.contains("40 applied")),
        "{early}"
    );
    stream.drain().unwrap();
    let drained = b
        .await_applied(KS, "p", 1, fenced.sequence, Duration::from_secs(60))
        .unwrap();
    assert_eq!(
        (drained.sequence, drained.digest),
        (fenced.sequence, fenced.digest)
    );
    let wrong = b.promote(KS, "p", 2, fenced.sequence, fenced.digest ^ 1, 0);
    assert!(matches!(wrong, Err(Refusal::NotReady(_))));
    let promoted = b
        .promote(KS, "p", 2, fenced.sequence, fenced.digest, 0)
        .unwrap();
    assert_eq!(
        (promoted.role, promoted.epoch, promoted.rows),
        (Role::Primary, 2, 39)
    );
    let proxy = a.proxy(KS, "p", 2, "b", "b:1", 0).unwrap();
    assert_eq!(
        (proxy.role, proxy.rows, &*proxy.proxy_to),
        (Role::Proxy, 0, "b")
    );
    assert_eq!(text(&get(&b, 3)), Some("newer"));
    assert_eq!(put(&b, 5, "x").version, fenced.sequence + 1);
    assert!(
        stream.drain().unwrap_err().contains("has moved"),
        "the source says so to who still listens"
    );
}

#[test]
fn a_broken_stream_resumes_with_what_is_missing() {
    let (a, b) = (node("a"), node("b"));
    a.serve(KS, "p", 1, KEY_LENGTH, b"", b"", false, 0).unwrap();
    let store = a.keyspace(KS).unwrap();
    // Several digests' worth, so that a part of it can be told from the rest.
    for number in 0..5_000_u16 {
        let op = Op::Put {
            key: &number.to_be_bytes(),
            value: b"value".as_slice().into(),
            condition: 0,
        };
        done(store.execute(op, 0, || panic!("held")));
    }
    let spec = follow(&b, "p", 1, b"", b"", &a);
    let (broken, complete) = Stream::open_until(&a, &b, &spec, 500).unwrap();
    assert!(!complete);
    let left = state(&b, "p");
    assert_eq!((left.role, left.rows), (Role::Loading, broken.rows_sent));
    assert_eq!(left.follow.unwrap().error, "the connection broke");
    assert!(
        broken.rows_sent > 2_000 && broken.rows_sent < 5_000,
        "{}",
        broken.rows_sent
    );
    drop(broken);
    done(store.execute(
        Op::Delete {
            key: &7_u16.to_be_bytes(),
            condition: 0,
        },
        0,
        || panic!("held"),
    ));
    let resumed = Stream::open(&a, &b, &spec).unwrap();
    assert!(resumed.rows_sent < 5_000, "{}", resumed.rows_sent);
    let (source, copy) = (state(&a, "p"), state(&b, "p"));
    assert_eq!(
        (copy.role, copy.rows, copy.digest),
        (Role::Following, source.rows, source.digest)
    );
    assert_eq!(copy.follow.unwrap().error, "");
    drop(resumed);
    let again = Stream::open(&a, &b, &spec).unwrap();
    assert_eq!(again.rows_sent, 0, "nothing differs any more");
}

#[test]
fn an_older_stream_cannot_touch_a_newer_follow() {
    let (a, b, c) = (loaded("a"), node("b"), loaded("c"));
    let old = follow(&b, "p", 1, b"", b"", &a);
    let stream = Stream::open(&a, &b, &old).unwrap();
    let new = follow(&b, "p", 1, b"", b"", &c);
    assert!(new.generation > old.generation);
    let before = state(&b, "p");
    let late = stream.follower();
    assert!(superseded(late.begin_snapshot(1, 1, 1, 1)));
    assert!(superseded(late.drop_range(b"", b"")));
    assert!(superseded(late.end_snapshot(1, 0, 0)));
    assert!(superseded(late.apply(41, [])));
    assert!(superseded(late.source_state(99, true)));
    late.failed("too late to matter");
    assert!(superseded(b.follow_stream(&old)));
    assert_eq!(state(&b, "p"), before);
    b.drop_partition(KS, "p", 1).unwrap();
    assert!(superseded(b.follow_stream(&new)));
}

#[test]
fn what_does_not_verify_is_refused_and_noted() {
    let (a, b) = (loaded("a"), node("b"));
    let spec = follow(&b, "p", 1, b"", b"", &a);
    let corrupt = |result: Result<u64, FollowError>, part: &str| {
        let Err(FollowError::Corrupt(text)) = result else {
            panic!("{result:?}")
        };
        assert!(text.contains(part), "{text}");
        assert_eq!(state(&b, "p").follow.unwrap().error, text);
    };
    let follower = b.follow_stream(&spec).unwrap();
    corrupt(follower.end_snapshot(1, 7, 7).map(|()| 0), "0 rows");
    let follower = b.follow_stream(&spec).unwrap();
    corrupt(follower.apply(1, []), "before the end of the snapshot");
    let stream = Stream::open(&a, &b, &spec).unwrap();
    corrupt(stream.follower().apply(43, []), "write 43 came after 40");
    corrupt(
        b.follow_stream(&spec)
            .unwrap()
            .drop_range(b"", b"")
            .map(|()| 0),
        "after the end of the snapshot",
    );
}

#[test]
fn requests_at_a_follower_go_to_the_source() {
    let (a, b) = (loaded("a"), node("b"));
    let spec = follow(&b, "p", 1, b"", b"", &a);
    let goes_to_source = |outcome| {
        let Outcome::Forward(target) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(
            (&*target.worker, &*target.address, target.epoch),
            ("a", "a:1", 1)
        );
    };
    goes_to_source(write(&b, 1, "x", 0));
    let _stream = Stream::open(&a, &b, &spec).unwrap();
    goes_to_source(write(&b, 1, "x", 0));
}

#[test]
fn a_partition_comes_back_over_its_own_proxy() {
    let (a, b) = (loaded("a"), node("b"));
    let (fenced, _stream) = drained(&a, &b);
    b.promote(KS, "p", 2, fenced.sequence, fenced.digest, 0)
        .unwrap();
    a.proxy(KS, "p", 2, "b", "b:1", 0).unwrap();
    put(&b, 1, "while away");
    let (fenced, _stream) = drained(&b, &a);
    a.promote(KS, "p", 3, fenced.sequence, fenced.digest, 0)
        .unwrap();
    b.proxy(KS, "p", 3, "a", "a:1", 0).unwrap();
    assert_eq!(text(&get(&a, 1)), Some("while away"));
}

#[test]
fn a_split_or_merge_ends_the_streams_of_its_followers() {
    let (a, b) = (loaded("a"), node("b"));
    let spec = follow(&b, "p", 1, b"", b"", &a);
    let mut stream = Stream::open(&a, &b, &spec).unwrap();
    let wakes = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&wakes);
    stream
        .reader()
        .set_wake(Arc::new(move || _ = seen.fetch_add(1, Ordering::Relaxed)));
    stream.drain().unwrap();
    let before = wakes.load(Ordering::Relaxed);
    a.split(KS, "p", 1, 2, &[&key(20)], &["l", "r"], &clock)
        .unwrap();
    assert_eq!(wakes.load(Ordering::Relaxed), before + 1);
    assert_eq!(stream.drain().unwrap_err(), "the partition was split");
    assert_eq!(
        state(&b, "p").follow.unwrap().error,
        "the partition was split"
    );
    let end = key(20);
    b.drop_partition(KS, "p", 1).unwrap();
    let spec = follow(&b, "l", 2, b"", &end, &a);
    let mut stream = Stream::open(&a, &b, &spec).unwrap();
    a.merge(KS, &[("l", 2), ("r", 2)], "w", 3, b"", b"", &clock)
        .unwrap();
    assert_eq!(
        stream.drain().unwrap_err(),
        "the partition was merged into another"
    );
}

#[test]
fn a_log_that_outgrows_its_bounds_ends_the_stream_not_the_source() {
    let settings = Settings {
        log_memory_bytes: 64 << 10,
        ..Settings::default()
    };
    let (a, b) = (node_with("a", settings), node("b"));
    a.serve(KS, "p", 1, KEY_LENGTH, b"", b"", false, 0).unwrap();
    let spec = follow(&b, "p", 1, b"", b"", &a);
    let mut stream = Stream::open(&a, &b, &spec).unwrap();
    for _ in 0..2_000 {
        put(
            &a,
            1,
            "a value that the log has to keep for a follower that does not read",
        );
    }
    assert!(stream.drain().unwrap_err().contains("more than it may"));
    drop(stream);
    let resumed = Stream::open(&a, &b, &spec).unwrap();
    assert_eq!(resumed.rows_sent, 1);
    assert_eq!(state(&b, "p").digest, state(&a, "p").digest);
}

#[test]
fn a_spilled_log_brings_the_follower_up_to_date() {
    let dir = std::env::temp_dir().join(format!("dstk-moving-{}", std::process::id()));
    let settings = Settings {
        log_memory_bytes: 256 << 10,
        spill_dir: Some(dir.clone()),
        ..Settings::default()
    };
    let (a, b) = (node_with("a", settings), node("b"));
    a.serve(KS, "p", 1, KEY_LENGTH, b"", b"", false, 0).unwrap();
    let spec = follow(&b, "p", 1, b"", b"", &a);
    let mut stream = Stream::open(&a, &b, &spec).unwrap();
    let counter = |name: &str| {
        a.counters()
            .into_iter()
            .find(|(other, _)| *other == name)
            .unwrap()
            .1
    };
    for number in 0..20_000_u32 {
        put(
            &a,
            number as u8,
            &format!("value {number} that the log has to keep"),
        );
        while counter("log_memory_bytes") > 384 << 10 {
            std::thread::yield_now();
        }
    }
    assert!(counter("log_spilled_bytes") > 1 << 20);
    let fenced = a.fence(KS, "p", 1, 2, 0).unwrap();
    stream.drain().unwrap();
    b.promote(KS, "p", 2, fenced.sequence, fenced.digest, 0)
        .unwrap();
    drop(stream);
    assert_eq!(
        (counter("log_spilled_bytes"), counter("log_readers")),
        (0, 0)
    );
    // The spill's thread may be in the middle of its last file.
    while let Err(error) = std::fs::remove_dir_all(&dir) {
        assert_eq!(error.kind(), std::io::ErrorKind::DirectoryNotEmpty);
        std::thread::yield_now();
    }
}

#[test]
fn readers_are_bounded_and_meant_for_primaries() {
    let settings = Settings {
        max_readers: 1,
        ..Settings::default()
    };
    let a = node_with("a", settings);
    a.serve(KS, "p", 2, KEY_LENGTH, b"", b"", false, 0).unwrap();
    assert!(matches!(
        a.open_reader(KS, "p", 1, &[]),
        Err(Refusal::Stale(_))
    ));
    assert!(matches!(
        a.open_reader(KS, "p", 3, &[]),
        Err(Refusal::NotReady(_))
    ));
    assert!(matches!(
        a.open_reader(KS, "q", 2, &[]),
        Err(Refusal::NotHere(_))
    ));
    assert!(matches!(
        a.open_reader(KS, "p", 2, b"junk"),
        Err(Refusal::Invalid(_))
    ));
    let one = a.open_reader(KS, "p", 2, &[]).unwrap();
    assert!(matches!(
        a.open_reader(KS, "p", 2, &[]),
        Err(Refusal::Limit(_))
    ));
    drop(one);
    assert!(a.open_reader(KS, "p", 2, &[]).is_ok());
    let b = node("b");
    follow(&b, "p", 2, b"", b"", &a);
    assert!(matches!(
        b.open_reader(KS, "p", 2, &[]),
        Err(Refusal::WrongRole(_))
    ));
}

#[test]
fn who_awaits_a_follower_is_told_when_it_is_none_any_more() {
    for end in ["applied", "dropped", "failed"] {
        let (a, b) = (loaded("a"), node("b"));
        let spec = follow(&b, "p", 1, b"", b"", &a);
        let mut stream = Stream::open(&a, &b, &spec).unwrap();
        put(&a, 1, "the write that is awaited");
        let waiting = Arc::clone(&b);
        let waiter = std::thread::spawn(move || {
            waiting.await_applied(KS, "p", 1, 41, Duration::from_secs(600))
        });
        match end {
            "applied" => stream.drain().unwrap(),
            "dropped" => b.drop_partition(KS, "p", 1).unwrap(),
            _ => stream.follower().failed("the connection broke"),
        }
        let told = waiter.join().unwrap();
        match (end, told) {
            ("applied", Ok(told)) => assert_eq!(told.sequence, 41),
            ("dropped", Ok(told)) => assert_eq!(told.role, Role::Disconnected),
            // It was dropped before the other thread got to wait.
            ("dropped", Err(Refusal::NotHere(_))) => {}
            ("failed", Ok(told)) => assert_eq!(told.follow.unwrap().error, "the connection broke"),
            other => panic!("{other:?}"),
        }
    }
}
