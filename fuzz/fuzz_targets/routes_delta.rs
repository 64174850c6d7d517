//! Updates of the routing table as they come from the operator or a worker, one on top of the other: nothing panics, a
//! refused one changes nothing, no range overlaps another, each key shows what the rules of the table say, and who is
//! sent only what changed ends up with the same.
//!
//! The input is a sequence of serialized `dstk.v1.RoutesUpdate`, each after its length as two bytes, little-endian.

#![no_main]

use std::collections::BTreeSet;
use std::sync::Arc;

use dstk_core::node::{KeyspaceRoutes, Loss, Node, Route, RoutesUpdate, Settings};
use dstk_fuzz::write_seeds;
use dstk_net::routes::{decode, to_wire};
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(init: write_seeds("routes_delta", seeds()), |data: &[u8]| {
    let (node, peer) = (node("w0"), node("w1"));
    let (mut sent, mut rest) = (0, data);
    while let Some((length, next)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes(*length)).min(next.len());
        let (message, next) = next.split_at(length);
        rest = next;
        let Ok(update) = decode(message) else {
            continue;
        };
        let before = node.routes_after(0);
        if node.apply_routes(&update).is_err() {
            assert_eq!(node.routes_after(0), before, "a refused update changed something");
            continue;
        }
        let (version, changes) = node.routes_after(sent);
        sent = version;
        let bytes = to_wire(changes.clone(), "").encode_to_vec();
        let read = decode(&bytes).expect("just encoded");
        assert_eq!(read, changes);
        peer.apply_routes(&read).expect("what was taken once");
        let (_, all) = node.routes_after(0);
        assert_eq!(peer.routes_after(0).1, all, "changes led elsewhere");
        all.keyspaces.iter().for_each(assert_no_overlap);
        if !update.full {
            assert_rules(&before.1, &update, &all);
        }
    }
});

fn node(name: &str) -> Arc<Node> {
    Node::new(name, name, Settings::default())
}

fn assert_no_overlap(keyspace: &KeyspaceRoutes) {
    for pair in keyspace.routes.windows(2) {
        assert!(
            !pair[0].end.is_empty() && pair[0].end <= pair[1].start,
            "{pair:?} overlap"
        );
    }
    for route in &keyspace.routes {
        assert!(
            route.end.is_empty() || route.start < route.end,
            "{route:?} is empty"
        );
    }
}

/// What a key shows: partition, epoch, owner.
type Shown<'a> = Option<(&'a str, u64, &'a str)>;

/// Checks a step from one table to the next, a key at a time, at every key where something begins or ends.
fn assert_rules(before: &RoutesUpdate, step: &RoutesUpdate, after: &RoutesUpdate) {
    for KeyspaceRoutes {
        keyspace,
        key_length,
        routes,
        ..
    } in &after.keyspaces
    {
        let of = |update: &'_ RoutesUpdate| -> Vec<KeyspaceRoutes> {
            let all = update.keyspaces.iter();
            all.filter(|routes| routes.keyspace == *keyspace)
                .cloned()
                .collect()
        };
        let (mut old, mut steps) = (of(before), of(step));
        // Of a keyspace that was made anew, with keys of another length, nothing counts that was said before.
        let anew = |routes: &KeyspaceRoutes| routes.key_length != *key_length;
        if let Some(last) = steps.iter().rposition(anew) {
            steps.drain(..=last);
            old.clear();
        } else if old.iter().any(anew) {
            old.clear();
        }
        let bounds = |route: &Route| {
            let start = padded(&route.start, *key_length);
            (
                start,
                (!route.end.is_empty()).then(|| padded(&route.end, *key_length)),
            )
        };
        let mut keys = BTreeSet::from([vec![0; *key_length]]);
        for route in old.iter().chain(&steps).flat_map(|routes| &routes.routes) {
            let (start, end) = bounds(route);
            keys.insert(start);
            keys.extend(end);
        }
        let shown = |routes: &'_ [Route], key: &[u8]| {
            let holds = |route: &&Route| {
                let (start, end) = bounds(route);
                *start <= *key && end.is_none_or(|end| *key < *end)
            };
            routes.iter().find(holds).cloned()
        };
        let old: Vec<_> = old.into_iter().flat_map(|routes| routes.routes).collect();
        let old: Vec<_> = keys.iter().map(|key| shown(&old, key)).collect();
        let mut slots: Vec<Shown> = old.iter().map(|route| route.as_ref().map(said)).collect();
        for routes in &steps {
            for (partition, epoch) in &routes.withdrawn {
                for slot in &mut slots {
                    *slot = slot.filter(|(name, of, _)| name != partition || of > epoch);
                }
            }
            for route in &routes.routes {
                let (name, epoch, owner) = said(route);
                let newer = |slot: &(&str, u64, &str)| slot.0 == name && slot.1 > epoch;
                if slots.iter().flatten().any(newer) {
                    continue;
                }
                let (start, end) = bounds(route);
                for (key, slot) in keys.iter().zip(&mut slots) {
                    *slot = slot.filter(|old| old.0 != name || old.1 == epoch);
                    let free = slot.is_none_or(|old| old.1 < epoch || old.0 == name);
                    if free && start <= *key && end.as_ref().is_none_or(|end| key < end) {
                        *slot = Some((name, epoch, owner));
                    }
                }
            }
        }
        for (key, slot) in keys.iter().zip(&slots) {
            let now = shown(routes, key);
            assert_eq!(now.as_ref().map(said), *slot, "key {key:?} of {keyspace:?}");
        }
    }
}

fn said(route: &Route) -> (&str, u64, &str) {
    (&route.partition, route.epoch, &route.owner)
}

fn padded(bound: &[u8], key_length: usize) -> Vec<u8> {
    let mut key = bound.to_vec();
    key.resize(key_length, 0);
    key
}

fn seeds() -> Vec<Vec<u8>> {
    let route = |partition: &str, start: &[u8], end: &[u8], epoch| Route {
        partition: partition.into(),
        start: start.into(),
        end: end.into(),
        epoch,
        owner: "w0".into(),
    };
    let loss = |partition: &str, start: &[u8], end: &[u8]| Loss {
        partition: partition.into(),
        start: start.into(),
        end: end.into(),
        since_ms: 1,
        reason: "DataLost".into(),
        held: true,
    };
    let of_length = |key_length, full, routes, withdrawn, losses| RoutesUpdate {
        full,
        keyspaces: vec![KeyspaceRoutes {
            keyspace: "k".into(),
            key_length,
            routes,
            withdrawn,
            losses,
        }],
        workers: vec![
            ("w0".into(), "127.0.0.1:7070".into()),
            ("w1".into(), String::new()),
        ],
    };
    let update = |full, routes, withdrawn, losses| of_length(2, full, routes, withdrawn, losses);
    let anew = of_length(3, false, vec![route("a", b"", b"m", 1)], vec![], None);
    let whole = update(
        true,
        vec![route("p", b"", b"m", 1), route("q", b"m", b"", 1)],
        vec![],
        None,
    );
    let split = update(
        false,
        vec![route("p1", b"", b"f", 2), route("p2", b"f", b"m", 2)],
        vec![("p".into(), 1)],
        Some(vec![loss("p2", b"f", b"m")].into()),
    );
    let merged = update(
        false,
        vec![route("r", b"f", b"", 3)],
        vec![],
        Some([].into()),
    );
    let gone = update(false, vec![], vec![("r".into(), 3)], None);
    let steps = [whole, split, merged, gone, anew].map(|update| {
        let bytes = to_wire(update, "").encode_to_vec();
        [&(bytes.len() as u16).to_le_bytes()[..], &bytes].concat()
    });
    let mut seeds = steps.to_vec();
    seeds.push(steps.concat());
    seeds
}
