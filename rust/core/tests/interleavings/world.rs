//! How a case is tried out, and the parts of the world that a case needs: requests, a client, an operator.

use std::sync::Arc;

use dstk_core::node::{Node, Outcome};
use dstk_core::partition::{Code, Nanos, Op, Reply, Verdict, Waiter};
use parking_lot::Mutex;
use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler};
use shuttle::sync::mpsc::{Sender, channel};
use shuttle::{Config, Runner, thread};

use super::harness::*;

/// Orders of each kind that [`in_many_orders`] tries, where SCHEDULES does not say.
const SCHEDULES: usize = 1_000;

/// More than any exhaustive case has: one that has grown out of it fails.
const EXHAUSTIVE: usize = 100_000;

/// In how many places of an order PCT lets another thread go first.
const DEPTH: usize = 4;

fn config() -> Config {
    let mut config = Config::new();
    // Debug builds take more than the 32 KiB that threads have otherwise.
    config.stack_size = 1 << 18;
    // That it takes all atomics for sequentially consistent is said in src/sync.rs.
    config.silence_warnings = true;
    config
}

/// Runs the case in every order of its threads there is.
pub fn in_every_order(case: fn()) {
    let scheduler = DfsScheduler::new(Some(EXHAUSTIVE), false);
    let orders = Runner::new(scheduler, config()).run(case);
    println!("all {orders} orders");
    assert!(
        orders < EXHAUSTIVE,
        "the case has more orders than can be tried: make it smaller"
    );
}

/// Runs the case in orders chosen at random, and in such where threads are seldom interrupted (PCT), which finds what
/// takes a certain order of few things.
pub fn in_many_orders(case: fn()) {
    try_out(case, schedules());
}

/// The same in a quarter as many, for cases that make files.
pub fn in_few_orders(case: impl Case) {
    try_out(case, schedules().div_ceil(4));
}

fn schedules() -> usize {
    std::env::var("SCHEDULES").map_or(SCHEDULES, |number| {
        number.parse().expect("SCHEDULES is a number")
    })
}

/// What is run again and again.
pub trait Case: Fn() + Send + Sync + Clone + 'static {}

impl<F: Fn() + Send + Sync + Clone + 'static> Case for F {}

fn try_out(case: impl Case, schedules: usize) {
    Runner::new(RandomScheduler::new(schedules), config()).run(case.clone());
    Runner::new(PctScheduler::new(DEPTH, schedules), config()).run(case);
}

/// Runs all of them at the same time, and waits until they have ended.
pub fn together<const N: usize>(threads: [Box<dyn FnOnce() + Send>; N]) {
    let threads = threads.map(thread::spawn);
    for thread in threads {
        thread.join().unwrap();
    }
}

/// A thread of [`together`].
pub fn runs(act: impl FnOnce() + Send + 'static) -> Box<dyn FnOnce() + Send> {
    Box::new(act)
}

/// What became of requests that were asked of one partition.
#[derive(Clone, Default)]
pub struct Requests(Arc<Mutex<Asked>>);

#[derive(Default)]
struct Asked {
    /// Requests that were held, in the order of their arrival.
    held: Vec<usize>,
    /// Verdicts on them, in the order in which they came.
    verdicts: Vec<(usize, Verdict)>,
    /// Requests that were answered at once.
    answered: Vec<(usize, Outcome)>,
}

struct Asking(usize, Requests);

impl Waiter for Asking {
    fn resume(self: Box<Self>, verdict: Verdict) {
        self.1.0.lock().verdicts.push((self.0, verdict));
    }
}

impl Requests {
    pub fn waiter(&self, number: usize) -> Box<dyn Waiter> {
        self.0.lock().held.push(number);
        Box::new(Asking(number, self.clone()))
    }

    pub fn put(&self, node: &Node, number: usize, chosen: u8, now: Nanos) {
        let op = Op::Put {
            key: &key(chosen),
            value: number.to_string().as_bytes().into(),
            condition: 0,
        };
        self.ask(node, number, op, now);
    }

    pub fn get(&self, node: &Node, number: usize, chosen: u8, now: Nanos) {
        self.ask(node, number, Op::Get { key: &key(chosen) }, now);
    }

    fn ask(&self, node: &Node, number: usize, op: Op<'_>, now: Nanos) {
        let store = node.keyspace(KS).unwrap();
        let outcome = store.execute(op, now, || self.waiter(number));
        let mut asked = self.0.lock();
        if let Outcome::Forward(_) = outcome {
            let passed_on = asked.verdicts.len();
            assert_eq!(
                passed_on,
                asked.held.len(),
                "those that came before are passed on first"
            );
        }
        if !matches!(outcome, Outcome::Parked) {
            asked.answered.push((number, outcome));
        }
    }

    /// Every one of so many requests was answered exactly once, and those that were held in the order of their arrival:
    /// how they ended, by number.
    pub fn ended(&self, count: usize) -> Vec<Ended> {
        let asked = std::mem::take(&mut *self.0.lock());
        let order: Vec<_> = asked.verdicts.iter().map(|(number, _)| *number).collect();
        assert_eq!(order, asked.held, "held, and given a verdict");
        let at_once = asked.answered.into_iter().map(|(number, outcome)| {
            let ended = match outcome {
                Outcome::Done(reply) => Ended::Done(reply),
                Outcome::Forward(target) => Ended::Forwarded(target.worker, false),
                other => panic!("{other:?}"),
            };
            (number, ended)
        });
        let held = asked.verdicts.into_iter().map(|(number, verdict)| {
            let ended = match verdict {
                Verdict::Done(reply) => Ended::Done(reply),
                Verdict::Forward(target) => Ended::Forwarded(target.worker, true),
                Verdict::Retry => Ended::Again,
                Verdict::Unavailable(_) => Ended::Refused,
            };
            (number, ended)
        });
        let mut all: Vec<_> = at_once.chain(held).collect();
        all.sort_by_key(|(number, _)| *number);
        let numbers: Vec<_> = all.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, Vec::from_iter(0..count), "each was answered once");
        all.into_iter().map(|(_, ended)| ended).collect()
    }

    /// Numbers of the requests that were held, in the order of their arrival.
    pub fn held(&self) -> Vec<usize> {
        self.0.lock().held.clone()
    }
}

/// How a request ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    Done(Reply),
    /// To whom, and whether it was held before.
    Forwarded(Arc<str>, bool),
    Again,
    Refused,
}

impl Ended {
    /// Version of a write that was applied, or of a row that was read.
    pub fn version(&self) -> Option<u64> {
        match self {
            Self::Done(reply) if reply.code == Code::Ok => Some(reply.version),
            _ => None,
        }
    }
}

/// A counter or gauge of a node.
pub fn counter(node: &Node, name: &str) -> u64 {
    let counters = node.counters();
    let found = counters.iter().find(|(counter, _)| *counter == name);
    found.unwrap().1
}

struct Sending(Sender<Verdict>);

impl Waiter for Sending {
    fn resume(self: Box<Self>, verdict: Verdict) {
        self.0.send(verdict).unwrap();
    }
}

/// Carries an operation to the node that has the key, as the network would, and waits for the answer.
pub fn carry(nodes: &[Arc<Node>], op: &Op<'_>) -> Reply {
    let mut at = 0;
    loop {
        let (sender, verdict) = channel();
        let named = |worker: &str| nodes.iter().position(|node| **node.name() == *worker);
        let next = match nodes[at].keyspace(KS) {
            None => None,
            Some(store) => match store.execute(op.clone(), 0, || Box::new(Sending(sender))) {
                Outcome::Done(reply) => return reply,
                Outcome::Forward(target) => named(&target.worker),
                Outcome::NotHere => None,
                Outcome::Parked => match verdict.recv().unwrap() {
                    Verdict::Done(reply) => return reply,
                    Verdict::Retry => Some(at),
                    Verdict::Forward(target) => named(&target.worker),
                    Verdict::Unavailable(reason) => panic!("{reason}"),
                },
            },
        };
        at = next.unwrap_or((at + 1) % nodes.len());
        thread::yield_now();
    }
}

pub fn carry_put(nodes: &[Arc<Node>], chosen: u8, text: &str) -> Reply {
    let op = Op::Put {
        key: &key(chosen),
        value: text.as_bytes().into(),
        condition: 0,
    };
    let reply = carry(nodes, &op);
    assert_eq!(reply.code, Code::Ok, "{reply:?}");
    reply
}

pub fn carry_get(nodes: &[Arc<Node>], chosen: u8) -> Reply {
    carry(nodes, &Op::Get { key: &key(chosen) })
}
