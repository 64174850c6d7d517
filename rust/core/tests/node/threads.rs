//! Writers on all keys while partitions split, merge and move under them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use dstk_core::node::{Node, Outcome};
use dstk_core::partition::{Code, Op, Reply, Verdict, Waiter};

use super::harness::*;

struct Sending(Sender<Verdict>);

impl Waiter for Sending {
    fn resume(self: Box<Self>, verdict: Verdict) {
        let _ = self.0.send(verdict);
    }
}

/// Carries an operation to the node that has the key, as the network would.
fn carry(nodes: &[Arc<Node>; 2], first: usize, op: &Op<'_>) -> Reply {
    let mut at = first;
    let other = |name: &str| {
        nodes
            .iter()
            .position(|node| **node.name() == *name)
            .unwrap()
    };
    for _ in 0..10_000 {
        let (sender, verdict) = channel();
        let Some(store) = nodes[at].keyspace(KS) else {
            at = 1 - at;
            continue;
        };
        match store.execute(op.clone(), 0, || Box::new(Sending(sender))) {
            Outcome::Done(reply) => return reply,
            Outcome::Forward(target) => at = other(&target.worker),
            Outcome::NotHere => at = 1 - at,
            Outcome::Parked => match verdict.recv_timeout(Duration::from_secs(600)).unwrap() {
                Verdict::Done(reply) => return reply,
                Verdict::Retry => {}
                Verdict::Forward(target) => at = other(&target.worker),
                Verdict::Unavailable(reason) => panic!("{reason}"),
            },
        }
    }
    panic!("nobody took {op:?}");
}

#[test]
fn no_acknowledged_write_is_lost_while_partitions_split_merge_and_move() {
    const WRITERS: usize = 3;
    let nodes = [primary("a"), node("b")];
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (nodes, stop) = (nodes.clone(), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut last: BTreeMap<u8, (u64, Option<u64>)> = BTreeMap::new();
                let mut number = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    let chosen = (number % 40) as u8 * WRITERS as u8 + writer as u8;
                    let key = key(chosen);
                    let (version, written) = last.get(&chosen).copied().unwrap_or_default();
                    let first = (number % 2) as usize;
                    let read = carry(&nodes, first, &Op::Get { key: &key });
                    let value = read
                        .value
                        .as_ref()
                        .map(|value| u64::from_be_bytes(value[..].try_into().unwrap()));
                    assert_eq!(value, written, "key {chosen} went back in time");
                    if number.is_multiple_of(7) && written.is_some() {
                        let reply = carry(
                            &nodes,
                            first,
                            &Op::Delete {
                                key: &key,
                                condition: version + 1,
                            },
                        );
                        assert_eq!(reply.code, Code::Ok);
                        assert!(reply.version > version);
                        last.insert(chosen, (reply.version, None));
                        continue;
                    }
                    let value = number.to_be_bytes().as_slice().into();
                    let condition = if written.is_some() { version + 1 } else { 1 };
                    let reply = carry(
                        &nodes,
                        first,
                        &Op::Put {
                            key: &key,
                            value,
                            condition,
                        },
                    );
                    assert_eq!(reply.code, Code::Ok, "{reply:?}");
                    assert!(reply.version > version, "versions of a key never repeat");
                    last.insert(chosen, (reply.version, Some(number)));
                }
                last
            })
        })
        .collect();

    let (mut at, mut epoch) = (0, 1);
    for _ in 0..60 {
        let keys = [key(30), key(60), key(90)];
        let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        nodes[at]
            .split(
                KS,
                "p",
                epoch,
                epoch + 1,
                &keys,
                &["s", "t", "u", "v"],
                &clock,
            )
            .unwrap();
        let parts = ["s", "t", "u", "v"].map(|name| (name, epoch + 1));
        nodes[at]
            .merge(KS, &parts, "p", epoch + 2, b"", b"", &clock)
            .unwrap();
        epoch += 2;
        let (source, destination) = (&nodes[at], &nodes[1 - at]);
        let spec = follow(destination, "p", epoch, b"", b"", source);
        let mut stream = Stream::open(source, destination, &spec).unwrap();
        while stream.advance(4096).unwrap() && state(destination, "p").follow.unwrap().lag > 100 {}
        let fenced = source.fence(KS, "p", epoch, epoch, 0).unwrap();
        stream.drain().unwrap();
        epoch += 1;
        destination
            .promote(KS, "p", epoch, fenced.sequence, fenced.digest, 0)
            .unwrap();
        source
            .proxy(KS, "p", epoch, destination.name(), "", 0)
            .unwrap();
        at = 1 - at;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        for (chosen, (version, written)) in writer.join().unwrap() {
            let reply = get(&nodes[at], chosen);
            let value = reply
                .value
                .map(|value| u64::from_be_bytes(value[..].try_into().unwrap()));
            assert_eq!(value, written, "key {chosen}");
            if written.is_some() {
                assert_eq!(reply.version, version);
            }
        }
    }
}
