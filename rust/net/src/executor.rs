//! Carries out operations on a node: at once, or later when they are held or passed on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use dstk_core::faults::Point;
use dstk_core::node::{KeyspaceStore, LeaseMark, Node, Outcome};
use dstk_core::partition::{
    Code as CoreCode, Nanos, Op, Reply as CoreReply, Target, Verdict, Waiter,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::codec::{BatchItem, RepliesWriter, hint_covers};
use crate::connection::{Call, CallResult, Cause};
use crate::operation::{Operation, Reply, Verb};
use crate::peers::Peers;
use crate::settings::WorkerSettings;
use crate::wire::{Code, Hint, Route};

/// Where an operation that did not end at once reports to.
pub type DeferredSender = mpsc::UnboundedSender<DeferredReply>;

/// What becomes of an operation later.
#[derive(Debug)]
pub enum DeferredReply {
    /// It ended.
    Reply {
        /// The sender's id.
        id: u64,
        /// The answer.
        reply: Reply,
        /// Where the key lives now, if the answer came from there.
        hint: Option<Box<Hint>>,
        /// That it was carried out here.
        here: Option<Here>,
    },
    /// It has to be carried out anew.
    Retry(Box<PendingOp>),
}

/// Of what was carried out here: in which keyspace, and that its lease held.
#[derive(Clone)]
pub struct Here {
    store: Arc<KeyspaceStore>,
    mark: LeaseMark,
}

impl Here {
    /// For what is carried out from `now` on.
    pub fn new(store: &Arc<KeyspaceStore>, now: Nanos) -> Self {
        let (store, mark) = (Arc::clone(store), store.lease_mark(now));
        Self { store, mark }
    }

    /// The keyspace.
    pub fn store(&self) -> &Arc<KeyspaceStore> {
        &self.store
    }

    /// Whether the lease has run out since: what was done then may be told to nobody.
    pub fn has_lapsed(&self, now: Nanos) -> bool {
        self.store.lapsed_since(self.mark, now)
    }
}

impl std::fmt::Debug for Here {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Here")
            .field("mark", &self.mark)
            .finish_non_exhaustive()
    }
}

/// What is told instead of an answer that was made under a lease which has run out since.
pub const LAPSED: &str = "the worker's lease ran out while it was asked";

/// An operation with what belongs to it, independent of the message it came in.
#[derive(Debug, Clone)]
pub struct PendingOp {
    /// The sender's id.
    pub id: u64,
    /// Of which keyspace.
    pub keyspace: Arc<str>,
    /// Workers that have passed it on, before this one.
    pub hops: u32,
    /// What is asked.
    pub operation: Operation,
}

/// Operations passed on, held and refused, since the start.
#[derive(Debug, Default)]
pub struct ExecutorCounters {
    /// Operations carried out or refused here at once.
    pub answered: AtomicU64,
    /// Operations passed on to another worker.
    pub forwarded: AtomicU64,
    /// Operations held behind a fence.
    pub held: AtomicU64,
    /// Operations whose key nobody is known to serve.
    pub unowned: AtomicU64,
}

/// Carries out operations on one node.
pub struct Executor {
    node: Arc<Node>,
    peers: Arc<Peers<ForwardedOp>>,
    settings: WorkerSettings,
    started: Instant,
    stopping: AtomicBool,
    counters: Arc<ExecutorCounters>,
}

impl Executor {
    /// Carries operations out on `node`, and passes on over `peers`.
    pub fn new(node: Arc<Node>, peers: Arc<Peers<ForwardedOp>>, settings: WorkerSettings) -> Self {
        let counters = Arc::default();
        Self {
            node,
            peers,
            settings,
            started: Instant::now(),
            stopping: AtomicBool::new(false),
            counters,
        }
    }

    /// The node.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Connections to other workers.
    pub fn peers(&self) -> &Arc<Peers<ForwardedOp>> {
        &self.peers
    }

    /// The bounds.
    pub fn settings(&self) -> &WorkerSettings {
        &self.settings
    }

    /// Counters since the start.
    pub fn counters(&self) -> &ExecutorCounters {
        &self.counters
    }

    /// Nanoseconds since this executor was made: the node's clock.
    pub fn now(&self) -> Nanos {
        self.started.elapsed().as_nanos() as Nanos
    }

    /// From now on every new operation is refused as unavailable, and so is what is held.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.node.refuse_held(&self.stopping_text());
    }

    /// Waits until `position` is durable, or returns why it cannot be.
    pub async fn wait_durable(&self, position: u64) -> Result<(), String> {
        if self.node.is_durable(position) {
            return Ok(());
        }
        let (sender, synced) = oneshot::channel();
        let tell = move |outcome| {
            // Who asked may have gone.
            let _ = sender.send(outcome);
        };
        self.node.when_durable(position, Box::new(tell));
        match synced.await {
            Ok(outcome) => outcome.map_err(|reason| reason.to_string()),
            Err(_) => Err("the log was closed".into()),
        }
    }

    /// Whether [`stop`](Self::stop) was called.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn stopping_text(&self) -> String {
        format!("worker {} is stopping: ask another", self.node.name())
    }

    /// Carries out one operation at `now`, in the keyspace of `here`. Its answer is in `replies`, or comes to `late`: true
    /// then.
    pub fn execute(
        self: &Arc<Self>,
        here: &Here,
        item: BatchItem<'_>,
        hops: u32,
        now: Nanos,
        late: &DeferredSender,
        replies: &mut RepliesWriter,
    ) -> bool {
        if self.is_stopping() {
            replies.ended(item.id, Code::Unavailable, 0, &self.stopping_text());
            return false;
        }
        let operation = match item.verb {
            Verb::Get => Op::Get { key: item.key },
            Verb::Put => Op::Put {
                key: item.key,
                value: item.value.into(),
                condition: item.condition.0,
            },
            Verb::Delete => Op::Delete {
                key: item.key,
                condition: item.condition.0,
            },
        };
        let store = here.store();
        let asked = || PendingOp {
            id: item.id,
            keyspace: Arc::clone(store.name()),
            hops,
            operation: item.to_operation(),
        };
        let park = || -> Box<dyn Waiter> {
            Box::new(ParkedOp {
                asked: asked(),
                store: Arc::clone(store),
                executor: Arc::clone(self),
                late: late.clone(),
            })
        };
        match store.execute(operation, now, park) {
            Outcome::Done(reply) => {
                self.counters.answered.fetch_add(1, Ordering::Relaxed);
                if self.node.is_durable(reply.after) {
                    write_reply(replies, item.id, &reply);
                    return false;
                }
                let here = here.clone();
                self.answer_once_durable(item.id, item.verb, reply, here, late.clone());
                true
            }
            Outcome::Parked => {
                self.counters.held.fetch_add(1, Ordering::Relaxed);
                true
            }
            Outcome::Forward(target) => {
                self.pass_on(asked(), target, late.clone());
                true
            }
            Outcome::NotHere => {
                self.counters.unowned.fetch_add(1, Ordering::Relaxed);
                replies.ended(item.id, Code::Unavailable, 0, &nobody_owns(store, item.key));
                false
            }
        }
    }

    /// Answers when what the answer tells of is on disk: a crash must not take back what somebody knows.
    fn answer_once_durable(
        &self,
        id: u64,
        verb: Verb,
        reply: CoreReply,
        here: Here,
        late: DeferredSender,
    ) {
        let after = reply.after;
        let answer = move |synced: Result<(), Arc<str>>| {
            let reply = match synced {
                Ok(()) => reply_of(reply),
                Err(reason) => not_durable(verb, &reason),
            };
            // A sender whose stream has ended waits for nothing.
            let _ = late.send(DeferredReply::Reply {
                id,
                reply,
                hint: None,
                here: Some(here),
            });
        };
        self.node.when_durable(after, Box::new(answer));
    }

    /// Passes an operation on to where its key is served, in the order of the calls; the answer goes to `late`.
    fn pass_on(self: &Arc<Self>, asked: PendingOp, target: Target, late: DeferredSender) {
        let refusal = self.may_pass_on(asked.hops, &target).err();
        let address = Arc::clone(&target.address);
        let deadline = Instant::now() + self.settings.forward_timeout;
        let passed = ForwardedOp {
            hops: asked.hops.saturating_add(1),
            asked,
            target,
            deadline,
            late,
        };
        match refusal {
            Some(text) => passed.answer(Reply::failed(Code::Unavailable, text), None),
            None => {
                self.counters.forwarded.fetch_add(1, Ordering::Relaxed);
                self.peers.connection(&address).submit(passed);
            }
        }
    }

    /// Whether something that `hops` workers have passed on may go on to `target`; why not.
    pub fn may_pass_on(&self, hops: u32, target: &Target) -> Result<(), String> {
        if hops >= self.settings.forward_hops {
            return Err(format!(
                "partition {} was passed on {hops} times and is said to be at {} now: the routes are changing, try again",
                target.partition, target.worker,
            ));
        }
        if target.address.is_empty() {
            return Err(format!(
                "partition {} is at {}, whose address is not known yet",
                target.partition, target.worker
            ));
        }
        if target.worker == *self.node.name() {
            return Err(format!(
                "partition {} is to be served by {} but is not yet",
                target.partition, target.worker
            ));
        }
        Ok(())
    }
}

/// Says that a key has no owner.
pub fn nobody_owns(store: &KeyspaceStore, key: &[u8]) -> String {
    format!(
        "nobody owns key {} of keyspace {:?}",
        dstk_core::key::readable(key),
        &**store.name()
    )
}

/// Where a target is, as clients are told.
pub fn hint_of(target: &Target) -> Hint {
    let route = Route {
        partition: target.partition.to_string(),
        start: Bytes::copy_from_slice(&target.bounds.start),
        end: Bytes::copy_from_slice(target.bounds.end().unwrap_or_default()),
        epoch: target.epoch,
        owner: target.worker.to_string(),
    };
    Hint {
        route: Some(route),
        address: target.address.to_string(),
    }
}

/// A code of the core on the wire: they have the same numbers.
pub fn wire_code(code: CoreCode) -> Code {
    Code::try_from(i32::from(code as u8)).unwrap_or(Code::Unavailable)
}

fn write_reply(replies: &mut RepliesWriter, id: u64, reply: &CoreReply) {
    match &reply.value {
        Some(value) => replies.found(id, reply.version, value),
        None => replies.ended(
            id,
            wire_code(reply.code),
            reply.version,
            reply.message.as_deref().unwrap_or_default(),
        ),
    }
}

fn reply_of(reply: CoreReply) -> Reply {
    Reply {
        code: wire_code(reply.code),
        version: reply.version,
        value: reply.value.map(|value| Bytes::copy_from_slice(&value)),
        message: reply.message.unwrap_or_default().into(),
    }
}

/// What to tell of an operation whose outcome could not be made to last.
fn not_durable(verb: Verb, reason: &str) -> Reply {
    let code = match verb {
        Verb::Get => Code::Unavailable,
        Verb::Put | Verb::Delete => Code::OutcomeUnknown,
    };
    Reply::failed(code, format!("the log cannot be written: {reason}"))
}

/// An operation behind a fence.
struct ParkedOp {
    asked: PendingOp,
    store: Arc<KeyspaceStore>,
    executor: Arc<Executor>,
    late: DeferredSender,
}

impl Waiter for ParkedOp {
    fn resume(self: Box<Self>, verdict: Verdict) {
        let id = self.asked.id;
        let reply = match verdict {
            Verdict::Done(reply) => {
                let verb = self.asked.operation.verb;
                let here = Here::new(&self.store, self.executor.now());
                return self
                    .executor
                    .answer_once_durable(id, verb, reply, here, self.late);
            }
            Verdict::Unavailable(reason) => Reply::failed(Code::Unavailable, reason),
            Verdict::Retry => {
                let _ = self.late.send(DeferredReply::Retry(Box::new(self.asked)));
                return;
            }
            // From here and not from the stream's task, so that nothing that comes later overtakes it.
            Verdict::Forward(target) => {
                return self.executor.pass_on(self.asked, target, self.late);
            }
        };
        // A sender whose stream has ended waits for nothing.
        let _ = self.late.send(DeferredReply::Reply {
            id,
            reply,
            hint: None,
            here: None,
        });
    }
}

/// An operation passed on to another worker.
pub struct ForwardedOp {
    asked: PendingOp,
    hops: u32,
    target: Target,
    deadline: Instant,
    late: DeferredSender,
}

impl ForwardedOp {
    fn answer(self, reply: Reply, hint: Option<Hint>) {
        let hint = hint.map(Box::new);
        let _ = self.late.send(DeferredReply::Reply {
            id: self.asked.id,
            reply,
            hint,
            here: None,
        });
    }

    fn failed(self, code: Code, cause: &Cause) {
        let Target {
            partition, worker, ..
        } = &self.target;
        let text = match cause {
            Cause::Broken(reason) | Cause::Stranger(reason) => {
                format!("passing on to {worker} for partition {partition}: {reason}")
            }
            Cause::Closed | Cause::GivenUp => {
                format!("passing on to {worker} for partition {partition} has ended")
            }
            Cause::Deadline => format!("{worker} did not answer for partition {partition} in time"),
            Cause::FullBytes(most) => {
                format!("{most} bytes are being passed on to {worker}: try again later")
            }
            Cause::Full(most) => {
                format!("{most} operations are being passed on to {worker}: try again later")
            }
        };
        self.answer(Reply::failed(code, text), None);
    }
}

impl Call for ForwardedOp {
    const POINTS: Option<[Point; 2]> = Some([Point::AfterPassOn, Point::BeforePassBack]);

    fn operation(&self) -> &Operation {
        &self.asked.operation
    }

    fn keyspace(&self) -> &Arc<str> {
        &self.asked.keyspace
    }

    fn meant(&self) -> Option<&Arc<str>> {
        Some(&self.target.worker)
    }

    fn hops(&self) -> u32 {
        self.hops
    }

    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn complete(self, ended: CallResult) {
        match ended {
            CallResult::Answered { reply, hints } => match reply.code {
                Code::Ok | Code::NoRow | Code::VersionMismatch => {
                    let key = &self.asked.operation.key;
                    // Where the worker asked has passed it on itself, its news are newer.
                    let newer = hints.and_then(|hints| {
                        hints.iter().find(|hint| hint_covers(hint, key)).cloned()
                    });
                    let hint = newer.unwrap_or_else(|| hint_of(&self.target));
                    self.answer(reply, Some(hint));
                }
                // Known here, so it only has not heard of it yet.
                Code::UnknownKeyspace => self.answer(
                    Reply {
                        code: Code::Unavailable,
                        ..reply
                    },
                    None,
                ),
                _ => self.answer(reply, None),
            },
            CallResult::NotSent(cause @ (Cause::Full(_) | Cause::FullBytes(_))) => {
                self.failed(Code::Limit, &cause)
            }
            CallResult::NotSent(cause) => self.failed(Code::Unavailable, &cause),
            CallResult::Unanswered(cause) if self.asked.operation.verb == Verb::Get => {
                self.failed(Code::Unavailable, &cause)
            }
            CallResult::Unanswered(cause) => self.failed(Code::OutcomeUnknown, &cause),
        }
    }
}
