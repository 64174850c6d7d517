//! `ManualClock`, `PassiveNode`, `PassiveStream`: a node that nothing runs. Whoever holds it says what time it is, and
//! carries what it sends.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dstk_core::node::{
    FollowError, FollowSpec, FollowStream, Followed, LogReader, Next, Node, Outcome, Refusal,
};
use dstk_core::partition::{Nanos, Op, PartitionState, Reply, Verdict, Waiter};
use dstk_core::snapshot::{ChunkDecoder, ChunkEncoder};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::{Error, Result};
use crate::node::{Limits, PyNode, read_settings};

/// The time, which is set by hand.
#[pyclass(name = "ManualClock", module = "dstk._core", frozen)]
pub(crate) struct PyManualClock {
    nanos: Arc<AtomicU64>,
}

#[pymethods]
impl PyManualClock {
    #[new]
    fn new() -> Self {
        Self {
            nanos: Arc::default(),
        }
    }

    fn set(&self, nanos: u64) {
        self.nanos.store(nanos, Ordering::Relaxed);
    }

    #[getter]
    fn nanos(&self) -> u64 {
        self.nanos.load(Ordering::Relaxed)
    }
}

/// A node, its clock, and what it wants to have sent.
pub(crate) struct Passive {
    node: Arc<Node>,
    clock: Arc<AtomicU64>,
    streams: Mutex<Vec<FollowSpec>>,
    verdicts: Verdicts,
}

/// What became of requests that were held, in the order in which that was decided.
type Verdicts = Arc<Mutex<Vec<(u64, Verdict)>>>;

/// A request behind a fence.
struct Held {
    number: u64,
    verdicts: Verdicts,
}

impl Waiter for Held {
    fn resume(self: Box<Self>, verdict: Verdict) {
        locked(&self.verdicts).push((self.number, verdict));
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Passive {
    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    pub(crate) fn now(&self) -> Nanos {
        self.clock.load(Ordering::Relaxed)
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of the action")]
    pub(crate) fn follow(
        &self,
        keyspace: &str,
        partition: &str,
        epoch: u64,
        key_length: usize,
        start: &[u8],
        end: &[u8],
        source: &str,
        source_address: &str,
        source_incarnation: &str,
        durable: bool,
        size: u64,
    ) -> std::result::Result<PartitionState, Refusal> {
        let Followed { state, start } = self.node.follow(
            keyspace,
            partition,
            epoch,
            key_length,
            start,
            end,
            source,
            source_address,
            source_incarnation,
            durable,
            size,
            self.now(),
        )?;
        locked(&self.streams).extend(start);
        Ok(state)
    }

    pub(crate) fn apply_routes(&self, update: &[u8]) -> std::result::Result<(), Refusal> {
        let update = dstk_net::routes::decode(update)
            .map_err(|error| Refusal::Invalid(format!("no dstk.v1.RoutesUpdate: {error}")))?;
        self.node.apply_routes(&update)
    }
}

/// What is said to a request: `done`, `held`, `elsewhere`, `refused`, `again` or `nobody`; then code, version, value, the
/// position of the log that has to be on disk first, the worker that it is for, and why.
type Answer<'py> = (
    &'static str,
    u8,
    u64,
    Option<Bound<'py, PyBytes>>,
    u64,
    String,
    String,
);

/// A row as it is held, whoever serves it: partition, role, epoch, whether writes are taken, whether a copy has caught up,
/// version and value.
type Seen<'py> = (
    String,
    &'static str,
    u64,
    bool,
    bool,
    u64,
    Option<Bound<'py, PyBytes>>,
);

/// A node that nothing runs.
#[pyclass(name = "PassiveNode", module = "dstk._core", extends = PyNode, frozen)]
pub(crate) struct PyPassiveNode {
    passive: Arc<Passive>,
}

#[pymethods]
impl PyPassiveNode {
    #[new]
    #[pyo3(signature = (name, incarnation, clock, settings=None))]
    fn new(
        py: Python<'_>,
        name: &str,
        incarnation: &str,
        clock: &PyManualClock,
        settings: Option<HashMap<String, Bound<'_, PyAny>>>,
    ) -> Result<PyClassInitializer<Self>> {
        let limits = read_settings(&settings.unwrap_or_default())?;
        let Limits {
            mut node, data_dir, ..
        } = limits;
        node.by_hand = true;
        // The smallest that such a log takes.
        node.log_segment_bytes = 0;
        let node = match data_dir {
            None => Node::new(name, incarnation, node),
            Some(dir) => py.detach(|| Node::open(name, incarnation, node, &dir))?,
        };
        let passive = Arc::new(Passive {
            node,
            clock: Arc::clone(&clock.nanos),
            streams: Mutex::default(),
            verdicts: Arc::default(),
        });
        let base = PyNode::passive(Arc::clone(&passive));
        Ok(PyClassInitializer::from(base).add_subclass(Self { passive }))
    }

    /// One operation: `value` None reads, `delete` removes; `condition` as in the core.
    #[pyo3(signature = (number, keyspace, key, value=None, condition=0, delete=false))]
    #[allow(clippy::too_many_arguments, reason = "the fields of the operation")]
    fn execute<'py>(
        &self,
        py: Python<'py>,
        number: u64,
        keyspace: &str,
        key: &[u8],
        value: Option<&[u8]>,
        condition: u64,
        delete: bool,
    ) -> Answer<'py> {
        let passive = &self.passive;
        let Some(store) = passive.node.keyspace(keyspace) else {
            return said("nobody", String::new(), "there is no such keyspace");
        };
        let op = match value {
            Some(value) => Op::Put {
                key,
                value: value.into(),
                condition,
            },
            None if delete => Op::Delete { key, condition },
            None => Op::Get { key },
        };
        let park = || -> Box<dyn Waiter> {
            Box::new(Held {
                number,
                verdicts: Arc::clone(&passive.verdicts),
            })
        };
        match store.execute(op, passive.now(), park) {
            Outcome::Done(reply) => done(py, reply),
            Outcome::Parked => said("held", String::new(), ""),
            Outcome::Forward(target) => said("elsewhere", target.worker.to_string(), ""),
            Outcome::NotHere => said("nobody", String::new(), "nobody owns the key"),
        }
    }

    /// What became of requests that were held, since this was last asked: number and answer.
    fn verdicts<'py>(&self, py: Python<'py>) -> Vec<(u64, Answer<'py>)> {
        let verdicts = std::mem::take(&mut *locked(&self.passive.verdicts));
        let answer = |(number, verdict)| {
            let answer = match verdict {
                Verdict::Done(reply) => done(py, reply),
                Verdict::Unavailable(reason) => said("refused", String::new(), &reason),
                Verdict::Retry => said("again", String::new(), ""),
                Verdict::Forward(target) => said("elsewhere", target.worker.to_string(), ""),
            };
            (number, answer)
        };
        verdicts.into_iter().map(answer).collect()
    }

    /// Streams that the node wants to follow by, since this was last asked.
    fn streams(&self) -> Vec<PyPassiveStream> {
        let specs = std::mem::take(&mut *locked(&self.passive.streams));
        let stream = |spec| PyPassiveStream {
            node: Arc::clone(&self.passive.node),
            spec,
            running: Mutex::new(None),
        };
        specs.into_iter().map(stream).collect()
    }

    /// What falls due by itself: requests that were held for too long, room, leases.
    fn tick(&self) {
        let (node, now) = (&self.passive.node, self.passive.now());
        node.expire_held(now);
        node.make_room();
        node.lapse(now);
    }

    fn flush(&self) {
        self.passive.node.flush();
    }

    fn crash(&self, torn: bool) {
        self.passive.node.crash(torn);
    }

    fn is_durable(&self, position: u64) -> bool {
        self.passive.node.is_durable(position)
    }

    fn is_leased(&self, keyspace: &str) -> bool {
        let store = self.passive.node.keyspace(keyspace);
        store.is_some_and(|store| store.is_leased(self.passive.now()))
    }

    /// What is held of a key, whether it is served here or not.
    fn peek<'py>(&self, py: Python<'py>, keyspace: &str, key: &[u8]) -> Option<Seen<'py>> {
        let store = self.passive.node.keyspace(keyspace)?;
        let seen = store.peek(key, self.passive.now())?;
        let (version, value) = match seen.row {
            Some((version, value)) => (version, Some(PyBytes::new(py, &value))),
            None => (0, None),
        };
        Some((
            seen.partition.to_string(),
            seen.role.name(),
            seen.epoch,
            seen.accepts,
            seen.caught_up,
            version,
            value,
        ))
    }
}

fn done(py: Python<'_>, reply: Reply) -> Answer<'_> {
    let value = reply.value.map(|value| PyBytes::new(py, &value));
    (
        "done",
        reply.code as u8,
        reply.version,
        value,
        reply.after,
        String::new(),
        reply.message.unwrap_or_default(),
    )
}

fn said(what: &'static str, worker: String, why: &str) -> Answer<'static> {
    (what, 0, 0, None, 0, worker, why.into())
}

/// A stream that a node wants to follow by.
#[pyclass(name = "PassiveStream", module = "dstk._core", frozen)]
pub(crate) struct PyPassiveStream {
    node: Arc<Node>,
    spec: FollowSpec,
    running: Mutex<Option<(FollowStream, LogReader)>>,
}

#[pymethods]
impl PyPassiveStream {
    #[getter]
    fn partition(&self) -> &str {
        &self.spec.partition
    }

    #[getter]
    fn source(&self) -> &str {
        &self.spec.source
    }

    /// Loads the snapshot of `source`, which is believed to be the stream's source. False: the node wants no more of this
    /// stream. Raises Unavailable when it broke, which the node knows then.
    fn open(&self, py: Python<'_>, source: &PyPassiveNode) -> Result<bool> {
        let Ok(stream) = self.node.follow_stream(&self.spec) else {
            return Ok(false);
        };
        match py.detach(|| load(&self.spec, &stream, &source.passive.node)) {
            Ok(reader) => {
                *locked(&self.running) = Some((stream, reader));
                Ok(true)
            }
            Err(end) => end.tell(&stream),
        }
    }

    /// Brings at most so many bytes of the log, and where there are none the state of the source. False and Unavailable as
    /// in `open`.
    fn advance(&self, max_bytes: usize) -> Result<bool> {
        let mut running = locked(&self.running);
        let Some((stream, reader)) = running.as_mut() else {
            return Ok(false);
        };
        match step(stream, reader, max_bytes) {
            Ok(()) => Ok(true),
            Err(end) => {
                let told = end.tell(stream);
                *running = None;
                told
            }
        }
    }

    /// The connection broke.
    fn failed(&self, reason: &str) {
        let running = locked(&self.running).take();
        if let Some((stream, _)) = running {
            stream.failed(reason);
        } else if let Ok(stream) = self.node.follow_stream(&self.spec) {
            stream.failed(reason);
        }
    }
}

/// Why a stream goes on no more.
enum End {
    /// Nobody wants it, or it is not tried again.
    Over,
    /// It may be opened again.
    Broken(String),
}

impl End {
    fn tell(self, stream: &FollowStream) -> Result<bool> {
        match self {
            Self::Over => Ok(false),
            Self::Broken(reason) => {
                stream.failed(reason.clone());
                Err(Error::unavailable(reason))
            }
        }
    }
}

impl From<FollowError> for End {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::Superseded(_) | FollowError::NoRoom(_) => Self::Over,
            error => Self::Broken(error.to_string()),
        }
    }
}

fn load(
    spec: &FollowSpec,
    stream: &FollowStream,
    source: &Node,
) -> std::result::Result<LogReader, End> {
    if *spec.source_incarnation != **source.incarnation() {
        let text = format!("worker {} is another life now", source.name());
        return Err(End::Broken(text));
    }
    let digests = stream.digests()?;
    let plan = source
        .open_reader(&spec.keyspace, &spec.partition, spec.epoch, &digests)
        .map_err(|refusal| End::Broken(refusal.to_string()))?;
    stream.begin_snapshot(plan.sequence, plan.rows, plan.bytes, plan.bytes_to_send)?;
    for range in &plan.ranges {
        stream.drop_range(&range.start, range.end().unwrap_or_default())?;
        let mut encoder = ChunkEncoder::new(plan.snapshot.clone(), &range.start, range.end());
        let mut decoder = ChunkDecoder::new(spec.key_length);
        while let Some(chunk) = encoder.next() {
            let chunk = decoder
                .decode(&chunk)
                .map_err(|error| End::Broken(error.to_string()))?;
            stream.install_chunk(&chunk)?;
        }
    }
    stream.end_snapshot(plan.sequence, plan.rows, plan.digest)?;
    Ok(plan.reader)
}

fn step(
    stream: &FollowStream,
    reader: &mut LogReader,
    max_bytes: usize,
) -> std::result::Result<(), End> {
    match reader.next(max_bytes) {
        Next::Batch(batch) => {
            let applied = stream.apply(batch.first, batch.effects)?;
            reader.acknowledge(applied);
        }
        Next::Empty => {
            if let Some(state) = reader.source_state() {
                stream.source_state(state.sequence, state.fenced)?;
            }
        }
        Next::Ended(reason) => return Err(End::Broken(reason)),
    }
    Ok(())
}
