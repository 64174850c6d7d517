use std::sync::atomic::AtomicUsize;

use super::*;

fn put(number: u64, bytes: usize) -> Effect {
    Effect::Put {
        key: number.to_be_bytes().as_slice().into(),
        value: vec![number as u8; bytes].into(),
    }
}

fn log(memory_bytes: u64, spill: Option<(u64, &std::path::Path)>) -> Log {
    let (spill_bytes, spill) = match spill {
        Some((bytes, dir)) => (bytes, Some(Arc::new(Spill::new(dir.into())))),
        None => (0, None),
    };
    Log::new(Arc::new(LogLimits {
        memory_bytes,
        spill_bytes,
        spill,
    }))
}

fn batch(log: &mut Log, id: ReaderId, max_bytes: usize) -> (u64, Vec<Effect>) {
    match log.read(id, max_bytes) {
        Read::Batch(batch) => (batch.first, batch.effects),
        Read::Segment(segment, from) => {
            let effects = segment.load(from).unwrap();
            log.advance(id, segment.end());
            (from, effects)
        }
        other => panic!("{other:?}"),
    }
}

fn scratch(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("dstk-log-{name}-{}", std::process::id()))
}

/// Waits for what another thread does; ten seconds bound it against hanging.
fn eventually(holds: impl Fn() -> bool) {
    let begin = std::time::Instant::now();
    while !holds() {
        assert!(begin.elapsed().as_secs() < 10, "it does not come about");
        std::thread::yield_now();
    }
}

/// Removes the folder of a spill, whose thread may be in the middle of its last file.
fn remove(dir: &std::path::Path) {
    while let Err(error) = std::fs::remove_dir_all(dir) {
        assert_eq!(error.kind(), std::io::ErrorKind::DirectoryNotEmpty);
        std::thread::yield_now();
    }
}

#[test]
fn without_readers_nothing_is_kept() {
    let mut log = log(1 << 20, None);
    assert!(!log.is_read());
    let reader = log.open(41);
    assert!(log.is_read());
    log.append(42, put(42, 10));
    assert!(log.bytes().0 > 0);
    log.close(reader);
    assert_eq!((log.is_read(), log.bytes()), (false, (0, 0)));
}

#[test]
fn readers_get_every_write_once_and_in_order_at_their_own_pace() {
    let mut log = log(1 << 20, None);
    let (fast, slow) = (log.open(0), log.open(0));
    for sequence in 1..=10 {
        log.append(sequence, put(sequence, 5));
    }
    let (first, effects) = batch(&mut log, fast, usize::MAX);
    assert_eq!((first, effects.len()), (1, 10));
    assert!(matches!(log.read(fast, 1), Read::Empty));
    for sequence in 1..=10 {
        assert_eq!(batch(&mut log, slow, 1), (sequence, vec![put(sequence, 5)]));
    }
    assert_eq!(log.bytes(), (0, 0));
    let late = log.open(10);
    log.append(11, Effect::Nothing);
    assert_eq!(batch(&mut log, late, 1), (11, vec![Effect::Nothing]));
}

#[test]
fn an_idle_reader_is_woken_once() {
    let mut log = log(1 << 20, None);
    let reader = log.open(0);
    let wakes = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&wakes);
    log.set_wake(
        reader,
        Arc::new(move || _ = counter.fetch_add(1, Ordering::Relaxed)),
    );
    let seen = || wakes.load(Ordering::Relaxed);
    assert_eq!(seen(), 1, "what came before the hook was set");
    log.append(1, put(1, 1));
    assert_eq!(seen(), 1, "it has not found the log empty");
    batch(&mut log, reader, usize::MAX);
    assert!(matches!(log.read(reader, 1), Read::Empty));
    log.append(2, put(2, 1));
    log.append(3, put(3, 1));
    assert_eq!(seen(), 2);
    batch(&mut log, reader, usize::MAX);
    assert!(matches!(log.read(reader, 1), Read::Empty));
    log.end("split");
    assert_eq!(seen(), 3);
    assert!(matches!(log.read(reader, 1), Read::Ended(reason) if reason == "split"));
}

#[test]
fn the_slowest_reader_is_given_up_when_memory_is_all_there_is() {
    let mut log = log(10_000, None);
    let (slow, fast) = (log.open(0), log.open(0));
    for sequence in 1..=1_000 {
        log.append(sequence, put(sequence, 100));
        while !matches!(log.read(fast, usize::MAX), Read::Empty) {}
        assert!(log.bytes().0 <= 10_000);
    }
    let Read::Ended(reason) = log.read(slow, 1) else {
        panic!("it kept up with nothing");
    };
    assert!(
        reason.contains("more than it may (10000 and 0)"),
        "{reason}"
    );
    assert_eq!(log.bytes(), (0, 0));
    assert!(log.is_read(), "the other one goes on");
}

#[test]
fn what_memory_cannot_hold_comes_back_from_disk() {
    let dir = scratch("disk");
    let mut log = log(1 << 16, Some((1 << 30, &dir)));
    let reader = log.open(0);
    for sequence in 1..=5_000 {
        log.append(sequence, put(sequence, 100));
        // The writers are paced by the disk here, as they would be given up otherwise.
        while log.bytes().0 > 3 << 15 {
            std::thread::yield_now();
        }
    }
    assert!(log.bytes().1 > 0);
    let mut next = 1;
    while next <= 5_000 {
        let (first, effects) = batch(&mut log, reader, 4_096);
        assert_eq!(first, next);
        for effect in effects {
            assert_eq!(effect, put(next, 100));
            next += 1;
        }
    }
    // The spill's thread may be in the middle of a segment that has been read by now: it holds that in memory.
    eventually(|| log.bytes() == (0, 0));
    assert_eq!(
        std::fs::read_dir(&dir).unwrap().count(),
        0,
        "the files have no names"
    );
    remove(&dir);
}

#[test]
fn the_disk_has_a_bound_too() {
    let dir = scratch("bound");
    let mut log = log(1 << 14, Some((1 << 16, &dir)));
    let reader = log.open(0);
    for sequence in 1..=5_000 {
        if !log.is_read() {
            break;
        }
        log.append(sequence, put(sequence, 100));
        let (memory, disk) = log.bytes();
        assert!(memory <= 1 << 15 && disk <= 1 << 16, "{memory} {disk}");
        while log.is_read() && log.bytes().0 > 3 << 13 {
            std::thread::yield_now();
        }
    }
    assert!(matches!(log.read(reader, 1), Read::Ended(_)));
    remove(&dir);
}

#[test]
fn a_spill_that_cannot_write_says_why() {
    let file = scratch("file");
    std::fs::write(&file, b"no directory").unwrap();
    let mut log = log(1 << 12, Some((1 << 30, &file)));
    let reader = log.open(0);
    let spill = Arc::clone(log.limits.spill.as_ref().unwrap());
    let mut sequence = 0;
    while log.is_read() {
        sequence += 1;
        log.append(sequence, put(sequence, 100));
        while !log.segments.is_empty() && spill.failure().is_none() {
            std::thread::yield_now();
        }
    }
    let Read::Ended(reason) = log.read(reader, 1) else {
        panic!("it had nowhere to go");
    };
    assert!(reason.contains("spilling failed"), "{reason}");
    std::fs::remove_file(&file).unwrap();
}
