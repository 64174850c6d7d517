//! Any order of operations and actions against a sequential model: a map of rows and, by partition, an epoch, a
//! sequence and the node that serves it.
//!
//! The test is client, network and operator. Every reply is predicted to the letter, versions included; every action
//! is done twice at random; streams break; moves are aborted or carried through; held requests are carried out or
//! passed on in the order in which they came.
//!
//! Longer than 600 lines: one model, which knows every action.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use dstk_core::disk::scratch::Scratch;
use dstk_core::node::{FollowSpec, Node, Outcome, Refusal, Settings};
use dstk_core::partition::{Code, Op, Reply, Role, Verdict};
use proptest::prelude::*;

use super::harness::*;

#[derive(Debug, Clone)]
enum Step {
    Get {
        key: u8,
        entry: bool,
    },
    Put {
        key: u8,
        entry: bool,
        condition: Condition,
    },
    Delete {
        key: u8,
        entry: bool,
        condition: Condition,
    },
    Split {
        pick: usize,
        cuts: Vec<u8>,
    },
    Merge {
        pick: usize,
        count: usize,
    },
    Follow {
        pick: usize,
        broken_after: Option<usize>,
    },
    Send {
        pick: usize,
        bytes: usize,
    },
    Break {
        pick: usize,
    },
    Fence {
        pick: usize,
    },
    Unfence {
        pick: usize,
    },
    Abort {
        pick: usize,
    },
    Commit {
        pick: usize,
        proxy_first: bool,
    },
    Release {
        pick: usize,
    },
    Confirm {
        pick: usize,
    },
    Checkpoint {
        entry: bool,
    },
    Restart {
        entry: bool,
    },
}

#[derive(Debug, Clone, Copy)]
enum Condition {
    None,
    Absent,
    Current,
    Wrong,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || 0..40_u8;
    let pick = || any::<usize>();
    let condition = || {
        prop_oneof![
            4 => Just(Condition::None),
            1 => Just(Condition::Absent),
            2 => Just(Condition::Current),
            1 => Just(Condition::Wrong),
        ]
    };
    let step = prop_oneof![
        10 => (key(), any::<bool>()).prop_map(|(key, entry)| Step::Get { key, entry }),
        30 => (key(), any::<bool>(), condition())
            .prop_map(|(key, entry, condition)| Step::Put { key, entry, condition }),
        8 => (key(), any::<bool>(), condition())
            .prop_map(|(key, entry, condition)| Step::Delete { key, entry, condition }),
        4 => (pick(), prop::collection::vec(key(), 1..4)).prop_map(|(pick, cuts)| Step::Split { pick, cuts }),
        3 => (pick(), 2..4_usize).prop_map(|(pick, count)| Step::Merge { pick, count }),
        6 => (pick(), prop::option::weighted(0.3, 0..3_usize))
            .prop_map(|(pick, broken_after)| Step::Follow { pick, broken_after }),
        4 => (pick(), 1..2_000_usize).prop_map(|(pick, bytes)| Step::Send { pick, bytes }),
        1 => pick().prop_map(|pick| Step::Break { pick }),
        4 => pick().prop_map(|pick| Step::Fence { pick }),
        1 => pick().prop_map(|pick| Step::Unfence { pick }),
        1 => pick().prop_map(|pick| Step::Abort { pick }),
        6 => (pick(), any::<bool>()).prop_map(|(pick, proxy_first)| Step::Commit { pick, proxy_first }),
        3 => pick().prop_map(|pick| Step::Release { pick }),
        1 => pick().prop_map(|pick| Step::Confirm { pick }),
        1 => any::<bool>().prop_map(|entry| Step::Checkpoint { entry }),
        1 => any::<bool>().prop_map(|entry| Step::Restart { entry }),
    ];
    prop::collection::vec(step, 1..150)
}

struct Part {
    start: Vec<u8>,
    end: Vec<u8>,
    epoch: u64,
    sequence: u64,
    owner: usize,
    proxied: bool,
    fenced: bool,
    copy: Option<Copy>,
}

/// The destination's side of a move.
struct Copy {
    /// None: one of the two has been restarted, and it has to be told to follow anew.
    spec: Option<FollowSpec>,
    stream: Option<Stream>,
}

enum Write {
    Get,
    Put(String),
    Delete,
}

struct Asked {
    key: u8,
    write: Write,
    condition: u64,
}

struct World {
    nodes: [Option<Arc<Node>>; 2],
    /// Where changes are written down; none: they are in memory alone, and nothing is restarted.
    dirs: Option<[Scratch; 2]>,
    lives: usize,
    fences: u64,
    parts: BTreeMap<String, Part>,
    rows: BTreeMap<u8, (String, u64)>,
    /// Versions ever given to a key, the highest.
    highest: BTreeMap<u8, u64>,
    verdicts: Verdicts,
    held: BTreeMap<usize, Asked>,
    names: usize,
    asked: usize,
}

impl World {
    fn new(durable: bool) -> Self {
        let dirs = durable.then(|| [Scratch::new(), Scratch::new()]);
        let nodes = match &dirs {
            None => [node("a"), node("b")],
            Some([a, b]) => [open("a", 0, a.path()), open("b", 0, b.path())],
        };
        nodes[0]
            .serve(KS, "p", 1, KEY_LENGTH, b"", b"", durable, 0)
            .unwrap();
        let part = Part {
            start: Vec::new(),
            end: Vec::new(),
            epoch: 1,
            sequence: 0,
            owner: 0,
            proxied: false,
            fenced: false,
            copy: None,
        };
        Self {
            nodes: nodes.map(Some),
            dirs,
            lives: 0,
            // A restarted node has fences of its own, numbered 1.
            fences: 1,
            parts: BTreeMap::from([("p".to_string(), part)]),
            rows: BTreeMap::new(),
            highest: BTreeMap::new(),
            verdicts: Verdicts::default(),
            held: BTreeMap::new(),
            names: 0,
            asked: 0,
        }
    }

    fn node(&self, at: usize) -> Arc<Node> {
        self.nodes[at].clone().unwrap()
    }

    /// A token above all before.
    fn fence_token(&mut self) -> u64 {
        self.fences += 1;
        self.fences
    }

    /// Ends a node's life and begins another with what it has written down.
    fn restart(&mut self, at: usize) {
        let Some(dirs) = &self.dirs else {
            return;
        };
        for part in self.parts.values_mut() {
            if let Some(copy) = &mut part.copy {
                (copy.spec, copy.stream) = (None, None);
            }
        }
        let node = self.nodes[at].take().unwrap();
        // Held requests end with the process.
        node.refuse_held("the worker ends");
        let refused: Vec<_> = self.verdicts.take();
        for (number, verdict) in refused {
            assert!(matches!(verdict, Verdict::Unavailable(_)), "{verdict:?}");
            self.held.remove(&number).unwrap();
        }
        node.close();
        drop(node);
        self.lives += 1;
        let name = ["a", "b"][at];
        self.nodes[at] = Some(open(name, self.lives, dirs[at].path()));
        for part in self.parts.values_mut().filter(|part| part.owner == at) {
            part.fenced = true;
        }
    }

    fn fresh_name(&mut self) -> String {
        self.names += 1;
        format!("n{}", self.names)
    }

    fn pick(&self, pick: usize, fits: impl Fn(&Part) -> bool) -> Option<String> {
        let all: Vec<_> = self
            .parts
            .iter()
            .filter(|(_, part)| fits(part))
            .map(|(name, _)| name.clone())
            .collect();
        (!all.is_empty()).then(|| all[pick % all.len()].clone())
    }

    fn part_of(&mut self, number: u8) -> &mut Part {
        let key = key(number);
        self.parts
            .values_mut()
            .find(|part| *part.start <= key[..] && (part.end.is_empty() || key[..] < *part.end))
            .unwrap()
    }

    fn condition(&self, number: u8, condition: Condition) -> u64 {
        let current = self.rows.get(&number).map_or(0, |(_, version)| *version);
        match condition {
            Condition::None => 0,
            Condition::Absent => 1,
            Condition::Current => current + 1,
            Condition::Wrong => current + 2,
        }
    }

    /// What the row's partition has to answer, in the order in which operations take effect.
    fn predict(&mut self, asked: &Asked) -> (Code, u64, Option<String>) {
        let row = self.rows.get(&asked.key).cloned();
        let current = row.as_ref().map_or(0, |(_, version)| *version);
        if asked.condition != 0 && asked.condition != current + 1 {
            return (Code::VersionMismatch, current, None);
        }
        match (&asked.write, row) {
            (Write::Get, Some((value, version))) => (Code::Ok, version, Some(value)),
            (Write::Get | Write::Delete, None) => (Code::NoRow, 0, None),
            (write, _) => {
                let part = self.part_of(asked.key);
                part.sequence += 1;
                let version = part.sequence;
                let before = self.highest.insert(asked.key, version).unwrap_or(0);
                assert!(version > before, "versions of a key never repeat");
                match write {
                    Write::Put(value) => self.rows.insert(asked.key, (value.clone(), version)),
                    _ => self.rows.remove(&asked.key),
                };
                (Code::Ok, version, None)
            }
        }
    }

    fn settle(&mut self, asked: &Asked, reply: &Reply) {
        let expected = self.predict(asked);
        let got = (reply.code, reply.version, text(reply).map(String::from));
        assert_eq!(got, expected, "key {}", asked.key);
    }

    /// Asks node `at`, and goes where it is sent.
    fn ask(&mut self, mut at: usize, asked: Asked) {
        for _ in 0..4 {
            let key = key(asked.key);
            let condition = asked.condition;
            let op = match &asked.write {
                Write::Get => Op::Get { key: &key },
                Write::Put(value) => Op::Put {
                    key: &key,
                    value: value.as_bytes().into(),
                    condition,
                },
                Write::Delete => Op::Delete {
                    key: &key,
                    condition,
                },
            };
            let number = self.asked;
            let Some(store) = self.node(at).keyspace(KS) else {
                at = 1 - at;
                continue;
            };
            match store.execute(op, 0, || self.verdicts.waiter(number)) {
                Outcome::Done(reply) => return self.settle(&asked, &reply),
                Outcome::Forward(target) => at = usize::from(*target.worker == *"b"),
                Outcome::NotHere => at = 1 - at,
                Outcome::Parked => {
                    assert!(self.part_of(asked.key).fenced);
                    self.asked += 1;
                    self.held.insert(number, asked);
                    return;
                }
            }
        }
        panic!("nobody took key {}", asked.key);
    }

    /// Lets held requests go on as they were told to.
    fn take_verdicts(&mut self) {
        for (number, verdict) in self.verdicts.take() {
            let asked = self.held.remove(&number).unwrap();
            match verdict {
                Verdict::Done(reply) => self.settle(&asked, &reply),
                Verdict::Forward(target) => self.ask(usize::from(*target.worker == *"b"), asked),
                other => panic!("{other:?}"),
            }
        }
    }

    fn client(&mut self, key: u8, entry: bool, write: Write, condition: Condition) {
        let condition = match write {
            Write::Get => 0,
            _ => self.condition(key, condition),
        };
        self.ask(
            usize::from(entry),
            Asked {
                key,
                write,
                condition,
            },
        );
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Get { key, entry } => self.client(key, entry, Write::Get, Condition::None),
            Step::Put {
                key,
                entry,
                condition,
            } => {
                let value = format!("value {} of {key}", self.asked + self.rows.len());
                self.client(key, entry, Write::Put(value), condition);
            }
            Step::Delete {
                key,
                entry,
                condition,
            } => self.client(key, entry, Write::Delete, condition),
            Step::Split { pick, cuts } => self.split(pick, cuts),
            Step::Merge { pick, count } => self.merge(pick, count),
            Step::Follow { pick, broken_after } => self.follow(pick, broken_after),
            Step::Send { pick, bytes } => {
                let Some(name) = self.pick(pick, |part| part.copy.is_some()) else {
                    return;
                };
                let copy = self.parts.get_mut(&name).unwrap().copy.as_mut().unwrap();
                if let Some(stream) = &mut copy.stream {
                    stream.advance(bytes).unwrap();
                }
            }
            Step::Break { pick } => {
                let Some(name) = self.pick(pick, |part| part.copy.is_some()) else {
                    return;
                };
                let copy = self.parts.get_mut(&name).unwrap().copy.as_mut().unwrap();
                if let Some(stream) = copy.stream.take() {
                    stream.follower().failed("broken by the test");
                }
            }
            Step::Fence { pick } => {
                let Some(name) = self.pick(pick, |part| part.copy.is_some()) else {
                    return;
                };
                let token = self.fence_token();
                let node = self.node(self.parts[&name].owner);
                let part = self.parts.get_mut(&name).unwrap();
                let fenced = node.fence(KS, &name, part.epoch, token, 0).unwrap();
                part.fenced = true;
                assert_eq!(fenced.sequence, part.sequence);
            }
            Step::Unfence { pick } => {
                let Some(name) = self.pick(pick, |part| part.fenced) else {
                    return;
                };
                self.unfence(&name);
            }
            Step::Abort { pick } => {
                let Some(name) = self.pick(pick, |part| part.copy.is_some()) else {
                    return;
                };
                self.unfence(&name);
                let node = self.node(1 - self.parts[&name].owner);
                let part = self.parts.get_mut(&name).unwrap();
                part.copy = None;
                node.drop_partition(KS, &name, part.epoch).unwrap();
            }
            Step::Commit { pick, proxy_first } => self.commit(pick, proxy_first),
            Step::Release { pick } => {
                let Some(name) = self.pick(pick, |part| part.proxied) else {
                    return;
                };
                let node = self.node(1 - self.parts[&name].owner);
                let part = self.parts.get_mut(&name).unwrap();
                node.release(KS, &name, part.epoch).unwrap();
                part.proxied = false;
            }
            Step::Confirm { pick } => {
                let Some(name) = self.pick(pick, |part| part.copy.is_none() && !part.proxied)
                else {
                    return;
                };
                let (node, durable) = (self.node(self.parts[&name].owner), self.dirs.is_some());
                let part = self.parts.get_mut(&name).unwrap();
                part.epoch += 1;
                // Whoever served the epoch before may have given out any number of it.
                part.sequence = part.sequence.max((part.epoch - 1) << 40);
                node.serve(
                    KS,
                    &name,
                    part.epoch,
                    KEY_LENGTH,
                    &part.start,
                    &part.end,
                    durable,
                    0,
                )
                .unwrap();
            }
            Step::Checkpoint { entry } => {
                let made = self.node(usize::from(entry)).checkpoint().unwrap();
                assert_eq!(made, self.dirs.is_some());
            }
            Step::Restart { entry } => self.restart(usize::from(entry)),
        }
        self.check();
    }

    fn split(&mut self, pick: usize, mut cuts: Vec<u8>) {
        let Some(name) = self.pick(pick, |part| {
            !part.proxied && !part.fenced && part.copy.is_none()
        }) else {
            return;
        };
        let part = &self.parts[&name];
        let inside = |cut: &u8| {
            part.start[..] < key(*cut)[..] && (part.end.is_empty() || key(*cut)[..] < part.end[..])
        };
        cuts.retain(inside);
        cuts.retain(|cut| *cut != 0);
        cuts.sort_unstable();
        cuts.dedup();
        let keys: Vec<_> = cuts.iter().map(|cut| key(*cut)).collect();
        let names: Vec<_> = (0..=cuts.len()).map(|_| self.fresh_name()).collect();
        let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        let refs: Vec<&str> = names.iter().map(String::as_str).collect();
        let part = &self.parts[&name];
        let (owner, epoch) = (part.owner, part.epoch);
        let node = self.node(owner);
        let act = || node.split(KS, &name, epoch, epoch + 1, &keys, &refs, &clock);
        if cuts.is_empty() {
            assert!(matches!(act(), Err(Refusal::Invalid(_))));
            return;
        }
        let states = act().unwrap();
        assert_eq!(act().unwrap(), states);
        let parent = self.parts.remove(&name).unwrap();
        let mut bounds = vec![parent.start.clone()];
        bounds.extend(keys.iter().map(|key| key.to_vec()));
        bounds.push(parent.end.clone());
        for (at, name) in names.iter().enumerate() {
            let part = Part {
                start: bounds[at].clone(),
                end: bounds[at + 1].clone(),
                epoch: epoch + 1,
                sequence: parent.sequence,
                owner,
                proxied: false,
                fenced: false,
                copy: None,
            };
            self.parts.insert(name.clone(), part);
        }
    }

    fn merge(&mut self, pick: usize, count: usize) {
        let fits = |part: &Part| !part.proxied && !part.fenced && part.copy.is_none();
        let Some(first) = self.pick(pick, fits) else {
            return;
        };
        let mut names = vec![first];
        while names.len() < count {
            let last = &self.parts[names.last().unwrap()];
            let next = self.parts.iter().find(|(_, part)| {
                !last.end.is_empty()
                    && part.start == last.end
                    && part.owner == last.owner
                    && fits(part)
            });
            let Some((next, _)) = next else { break };
            names.push(next.clone());
        }
        if names.len() < 2 {
            return;
        }
        let whole = self.fresh_name();
        let parts: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), self.parts[name].epoch))
            .collect();
        let epoch = parts.iter().map(|(_, epoch)| *epoch).max().unwrap() + 1;
        let (low, high) = (&self.parts[&names[0]], &self.parts[names.last().unwrap()]);
        let (start, end, owner) = (low.start.clone(), high.end.clone(), low.owner);
        let node = self.node(owner);
        let act = || {
            node.merge(KS, &parts, &whole, epoch, &start, &end, &clock)
                .unwrap()
        };
        let state = act();
        assert_eq!(act(), state);
        let sequence = names
            .iter()
            .map(|name| self.parts[name].sequence + 1)
            .max()
            .unwrap();
        assert_eq!(state.sequence, sequence);
        for name in &names {
            self.parts.remove(name);
        }
        let part = Part {
            start,
            end,
            epoch,
            sequence,
            owner,
            proxied: false,
            fenced: false,
            copy: None,
        };
        self.parts.insert(whole, part);
    }

    fn follow(&mut self, pick: usize, broken_after: Option<usize>) {
        let resumes = |part: &Part| part.copy.as_ref().is_none_or(|copy| copy.stream.is_none());
        let Some(name) = self.pick(pick, resumes) else {
            return;
        };
        let durable = self.dirs.is_some();
        let (source, destination) = self.ends(&name);
        let part = self.parts.get_mut(&name).unwrap();
        let spec = match part.copy.take().and_then(|copy| copy.spec) {
            Some(spec) => spec,
            None => {
                // What this partition was split from may still be passed on by the other node.
                let asked = destination.follow(
                    KS,
                    &name,
                    part.epoch,
                    KEY_LENGTH,
                    &part.start,
                    &part.end,
                    source.name(),
                    &address(source.name()),
                    source.incarnation(),
                    durable,
                    0,
                    0,
                );
                asked.unwrap().start.unwrap()
            }
        };
        let limit = broken_after.unwrap_or(usize::MAX);
        let (stream, complete) = Stream::open_until(&source, &destination, &spec, limit).unwrap();
        part.proxied = false;
        part.copy = Some(Copy {
            spec: Some(spec),
            stream: complete.then_some(stream),
        });
    }

    /// The owner of a partition, and the other node.
    fn ends(&self, name: &str) -> (Arc<Node>, Arc<Node>) {
        let owner = self.parts[name].owner;
        (self.node(owner), self.node(1 - owner))
    }

    fn unfence(&mut self, name: &str) {
        let token = self.fence_token();
        let (node, _) = self.ends(name);
        let part = self.parts.get_mut(name).unwrap();
        for _ in 0..2 {
            node.unfence(KS, name, part.epoch, token, 0).unwrap();
        }
        part.fenced = false;
        self.take_verdicts();
    }

    fn commit(&mut self, pick: usize, proxy_first: bool) {
        let ready = |part: &Part| {
            part.fenced && part.copy.as_ref().is_some_and(|copy| copy.stream.is_some())
        };
        let Some(name) = self.pick(pick, ready) else {
            return;
        };
        let token = self.fence_token();
        let (source, destination) = self.ends(&name);
        let part = self.parts.get_mut(&name).unwrap();
        let fenced = source.fence(KS, &name, part.epoch, token, 0).unwrap();
        let promote =
            || destination.promote(KS, &name, part.epoch + 1, fenced.sequence, fenced.digest, 0);
        if state(&destination, &name).sequence < fenced.sequence {
            assert!(matches!(promote(), Err(Refusal::NotReady(_))));
        }
        part.copy
            .as_mut()
            .unwrap()
            .stream
            .as_mut()
            .unwrap()
            .drain()
            .unwrap();
        let proxy = || {
            let to = destination.name();
            source
                .proxy(KS, &name, part.epoch + 1, to, &address(to), 0)
                .unwrap()
        };
        if proxy_first {
            proxy();
        }
        assert_eq!(promote().unwrap(), promote().unwrap());
        assert_eq!(proxy(), proxy());
        part.epoch += 1;
        part.owner = 1 - part.owner;
        (part.proxied, part.fenced, part.copy) = (true, false, None);
        self.take_verdicts();
    }

    /// At most one node is primary of a partition in an epoch, and nobody holds what the model does not know.
    fn check(&self) {
        for (name, part) in &self.parts {
            let held: Vec<_> = [0, 1]
                .map(|at| {
                    self.node(at)
                        .states(Some(&[name]), 0)
                        .unwrap()
                        .into_iter()
                        .next()
                })
                .into();
            let owner = held[part.owner].as_ref().unwrap();
            assert_eq!(
                (owner.role, owner.epoch, owner.fenced),
                (Role::Primary, part.epoch, part.fenced)
            );
            assert_eq!(owner.sequence, part.sequence);
            let other = held[1 - part.owner]
                .as_ref()
                .map_or(Role::Disconnected, |state| state.role);
            match (part.proxied, &part.copy) {
                (true, _) => assert_eq!(other, Role::Proxy),
                (false, Some(_)) => assert!(matches!(other, Role::Loading | Role::Following)),
                (false, None) => assert_eq!(other, Role::Disconnected),
            }
        }
        let known = |at: usize| {
            self.node(at)
                .states(None, 0)
                .unwrap()
                .iter()
                .all(|state| self.parts.contains_key(&*state.partition))
        };
        assert!(known(0) && known(1));
    }

    fn finish(mut self) {
        self.restart(0);
        self.restart(1);
        self.check();
        for name in self.parts.keys().cloned().collect::<Vec<_>>() {
            self.unfence(&name);
        }
        assert!(self.held.is_empty());
        for number in 0..40 {
            self.ask(
                0,
                Asked {
                    key: number,
                    write: Write::Get,
                    condition: 0,
                },
            );
        }
        let rows: u64 = self
            .parts
            .iter()
            .map(|(name, part)| state(&self.node(part.owner), name).rows)
            .sum();
        assert_eq!(rows, self.rows.len() as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_operations_and_actions_loses_or_repeats_a_write(steps in steps()) {
        let mut world = World::new(false);
        for step in steps {
            world.step(step);
        }
        world.finish();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn nor_does_any_order_with_restarts_and_checkpoints(steps in steps()) {
        let mut world = World::new(true);
        for step in steps {
            world.step(step);
        }
        world.finish();
    }
}

fn open(name: &str, life: usize, dir: &Path) -> Arc<Node> {
    let settings = Settings {
        log_segment_bytes: 16 << 20,
        ..Settings::default()
    };
    let node = Node::open(name, &format!("{name}/{life}"), settings, dir).unwrap();
    node.set_address(&address(name));
    node
}
