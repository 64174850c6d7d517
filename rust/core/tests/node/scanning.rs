//! Pages: across partitions, gaps and workers, both ways.

use dstk_core::node::{
    KeyspaceRoutes, Node, Page, Route, RoutesUpdate, Scan, ScanOutcome, Settings,
};
use dstk_core::partition::Code;

use super::harness::*;

fn outcome(
    node: &Node,
    start: &[u8],
    end: &[u8],
    reverse: bool,
    limit: usize,
    max_bytes: usize,
) -> ScanOutcome {
    let scan = Scan {
        start,
        end,
        reverse,
        limit,
        max_bytes,
    };
    node.keyspace(KS).unwrap().scan(&scan, 0, || panic!("held"))
}

fn page(outcome: ScanOutcome) -> Page {
    match outcome {
        ScanOutcome::Page(page) => page,
        other => panic!("{other:?}"),
    }
}

/// All keys' first bytes of a walk, and the pages it took.
fn walk(node: &Node, start: &[u8], end: &[u8], reverse: bool, limit: usize) -> (Vec<u8>, usize) {
    let (mut start, mut end) = (start.to_vec(), end.to_vec());
    let (mut keys, mut pages) = (Vec::new(), 0);
    loop {
        let page = page(outcome(node, &start, &end, reverse, limit, 0));
        assert!(page.versions.len() <= limit);
        assert_eq!(page.keys.len(), page.versions.len() * KEY_LENGTH);
        keys.extend(page.keys.chunks(KEY_LENGTH).map(|key| key[0]));
        pages += 1;
        assert!(pages < 1_000, "it does not end");
        match page.cursor {
            Some(cursor) if reverse => end = cursor.into(),
            Some(cursor) => start = cursor.into(),
            None => return (keys, pages),
        }
    }
}

/// `l` = [10, 20), a gap, `m` = [30, 40), `r` = [40, +∞): a row at every third number from 0 on where it can be.
fn spread() -> std::sync::Arc<Node> {
    let node = node("a");
    let routes = KeyspaceRoutes {
        keyspace: KS.into(),
        key_length: KEY_LENGTH,
        ..KeyspaceRoutes::default()
    };
    node.apply_routes(&RoutesUpdate {
        full: true,
        keyspaces: vec![routes],
        workers: vec![],
    })
    .unwrap();
    node.apply_routes(&RoutesUpdate {
        keyspaces: vec![KeyspaceRoutes {
            keyspace: KS.into(),
            key_length: KEY_LENGTH,
            routes: vec![Route {
                partition: "l".into(),
                start: key(10).into(),
                end: key(20).into(),
                epoch: 1,
                owner: "a".into(),
            }],
            withdrawn: vec![],
            losses: None,
        }],
        ..RoutesUpdate::default()
    })
    .unwrap();
    for (name, start, end) in [
        ("l", &key(10)[..], &key(20)[..]),
        ("m", &key(30), &key(40)),
        ("r", &key(40), b""),
    ] {
        node.serve(KS, name, 1, KEY_LENGTH, start, end, false, 0)
            .unwrap();
    }
    for number in (0..=60)
        .step_by(3)
        .filter(|number| (10..20).contains(number) || *number >= 30)
    {
        put(&node, number, "value");
    }
    node
}

#[test]
fn a_walk_sees_every_row_once_and_in_order() {
    let node = spread();
    let all: Vec<u8> = vec![12, 15, 18, 30, 33, 36, 39, 42, 45, 48, 51, 54, 57, 60];
    let reversed: Vec<u8> = all.iter().rev().copied().collect();
    for limit in [1, 2, 3, 100] {
        assert_eq!(walk(&node, b"", b"", false, limit).0, all, "limit {limit}");
        assert_eq!(
            walk(&node, b"", b"", true, limit).0,
            reversed,
            "limit {limit}, reverse"
        );
    }
    for (start, end) in [
        (13, 36),
        (20, 30),
        (0, 10),
        (5, 12),
        (18, 19),
        (39, 43),
        (61, 255),
    ] {
        let inside: Vec<u8> = all
            .iter()
            .copied()
            .filter(|key| (start..end).contains(key))
            .collect();
        let reversed: Vec<u8> = inside.iter().rev().copied().collect();
        assert_eq!(
            walk(&node, &key(start), &key(end), false, 2).0,
            inside,
            "{start}..{end}"
        );
        assert_eq!(
            walk(&node, &key(start), &key(end), true, 2).0,
            reversed,
            "{start}..{end}, reverse"
        );
    }
    assert_eq!(
        walk(&node, &key(12), &key(19), false, 3),
        (vec![12, 15, 18], 1),
        "no page for nothing"
    );
}

#[test]
fn a_page_is_bounded_in_rows_and_bytes_and_never_empty_for_want_of_room() {
    let settings = Settings {
        scan_max_rows: 5,
        scan_max_bytes: 40,
        ..Settings::default()
    };
    let node = node_with("a", settings);
    node.serve(KS, "p", 1, KEY_LENGTH, b"", b"", false, 0)
        .unwrap();
    for number in 0..10 {
        put(&node, number, "8 bytes.");
    }
    let rows = |limit, max_bytes| {
        page(outcome(&node, b"", b"", false, limit, max_bytes))
            .versions
            .len()
    };
    assert_eq!(
        [
            rows(1000, 0),
            rows(2, 0),
            rows(1000, 20),
            rows(1000, 1),
            rows(1000, 1 << 30)
        ],
        [4, 2, 2, 1, 4]
    );
}

#[test]
fn what_is_wrong_with_a_scan_is_said() {
    let node = spread();
    for (start, end, limit, what) in [
        (&b""[..], &b""[..], 0, "at least one row"),
        (b"b", b"a", 1, "goes backwards"),
        (b"bbb", b"", 1, "3 bytes"),
    ] {
        let ScanOutcome::Failed(reply) = outcome(&node, start, end, false, limit, 0) else {
            panic!("{what}")
        };
        assert_eq!(reply.code, Code::Invalid);
        assert!(reply.message.as_ref().unwrap().contains(what), "{reply:?}");
    }
    assert_eq!(
        page(outcome(&node, b"a", b"a", false, 1, 0)),
        Page::default()
    );
}

#[test]
fn a_scan_goes_where_its_first_key_is() {
    let node = spread();
    node.proxy(KS, "m", 2, "b", "b:1", 0).unwrap();
    let first = page(outcome(&node, &key(12), b"", false, 10, 0));
    assert_eq!(first.cursor.as_deref(), Some(&key(20)[..]));
    let gap = page(outcome(&node, &key(20), b"", false, 10, 0));
    assert_eq!(
        (gap.versions.len(), gap.cursor.as_deref()),
        (0, Some(&key(30)[..]))
    );
    let moved = outcome(&node, &key(30), b"", false, 10, 0);
    assert!(
        matches!(&moved, ScanOutcome::Forward(target) if *target.worker == *"b"),
        "{moved:?}"
    );
    let moved = outcome(&node, b"", &key(40), true, 10, 0);
    assert!(
        matches!(&moved, ScanOutcome::Forward(target) if *target.worker == *"b"),
        "{moved:?}"
    );
}

#[test]
fn a_worker_that_was_told_no_routes_does_not_take_ignorance_for_a_gap() {
    let node = node("a");
    node.serve(KS, "p", 1, KEY_LENGTH, &key(10), &key(20), false, 0)
        .unwrap();
    assert!(matches!(
        outcome(&node, b"", b"", false, 10, 0),
        ScanOutcome::NotHere
    ));
    assert!(matches!(
        outcome(&node, b"", b"", true, 10, 0),
        ScanOutcome::NotHere
    ));
    assert_eq!(
        page(outcome(&node, &key(10), &key(20), false, 10, 0)),
        Page::default()
    );
}
