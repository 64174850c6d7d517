use std::fs;

use super::*;
use crate::disk::scratch::Scratch;

fn start(dir: &Path) -> Wal {
    let begin = Begin {
        by_hand: false,
        capacity: MIN_SEGMENT_BYTES,
        number: 0,
        position: 0,
        segments: Vec::new(),
        salt: 1,
    };
    Wal::start(dir, begin).unwrap()
}

fn blocks(dir: &Path) -> Vec<u8> {
    let mut records = Vec::new();
    for number in segment::numbers(dir).unwrap() {
        let contents = segment::Contents::read(dir, number).unwrap();
        assert_eq!(
            contents.first,
            Some(records.len() as u64),
            "segment {number}"
        );
        contents
            .blocks()
            .for_each(|(_, payload)| records.extend_from_slice(payload));
    }
    records
}

#[test]
fn what_is_durable_is_in_the_files() {
    let dir = Scratch::new();
    let wal = start(dir.path());
    let record = Record::Put {
        id: 1,
        sequence: 1,
        key: b"k",
        value: &[7; 100_000],
    };
    let mut expected = Vec::new();
    for _ in 0..400 {
        record.encode(&mut expected);
        let position = wal.append(&record);
        assert_eq!(position, expected.len() as u64);
    }
    wal.wait(expected.len() as u64).unwrap();
    assert_eq!(blocks(dir.path()), expected);
    assert!(segment::numbers(dir.path()).unwrap().len() > 2);
}

#[test]
fn those_who_wait_are_told_in_the_end() {
    let dir = Scratch::new();
    let wal = start(dir.path());
    let (sender, receiver) = std::sync::mpsc::channel();
    for index in 0..100 {
        let position = wal.append(&Record::Term { term: index });
        let sender = sender.clone();
        wal.when_durable(
            position,
            Box::new(move |result| sender.send(result).unwrap()),
        );
    }
    for _ in 0..100 {
        assert_eq!(receiver.recv().unwrap(), Ok(()));
    }
    wal.close();
    let position = wal.append(&Record::Term { term: 1 });
    assert!(wal.wait(position).is_err());
    assert!(wal.accepts().is_err());
}

#[test]
fn segments_that_are_let_go_are_used_again() {
    let dir = Scratch::new();
    let wal = start(dir.path());
    for round in 0..40 {
        let value = vec![round; 1 << 20];
        for sequence in 0..4 {
            let record = Record::Put {
                id: 1,
                sequence,
                key: b"k",
                value: &value,
            };
            let position = wal.append(&record);
            wal.wait(position).unwrap();
        }
        wal.trim(wal.durable());
    }
    let files = fs::read_dir(dir.path()).unwrap().count();
    assert!(files <= 6, "{files} files are left");
}

fn by_hand(dir: &Path) -> Wal {
    let begin = Begin {
        by_hand: true,
        capacity: 0,
        number: 0,
        position: 0,
        segments: Vec::new(),
        salt: 1,
    };
    Wal::start(dir, begin).unwrap()
}

#[test]
fn a_log_by_hand_is_written_by_who_waits_and_by_flush_alone() {
    let dir = Scratch::new();
    let wal = by_hand(dir.path());
    wal.accepts().unwrap();
    let first = wal.append(&Record::Term { term: 1 });
    assert_eq!(wal.durable(), 0);
    wal.wait(first).unwrap();
    let second = wal.append(&Record::Term { term: 2 });
    assert_eq!(wal.durable(), first);
    wal.flush();
    assert_eq!(wal.durable(), second);
}

#[test]
fn a_crash_of_a_log_by_hand_loses_what_was_not_written() {
    for torn in [false, true] {
        let dir = Scratch::new();
        let wal = by_hand(dir.path());
        let position = wal.append(&Record::Term { term: 1 });
        wal.wait(position).unwrap();
        let written = blocks(dir.path());
        let lost = wal.append(&Record::Term { term: 2 });
        wal.crash(torn);
        assert!(wal.wait(lost).is_err());
        assert_eq!(blocks(dir.path()), written, "torn: {torn}");
    }
}
