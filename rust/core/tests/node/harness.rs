//! The part of the network: streams between two nodes, and what waits for held requests.

use std::sync::Arc;

use dstk_core::node::{
    FollowError, FollowSpec, FollowStream, LogReader, Next, Node, Outcome, Refusal, Settings,
};
use dstk_core::partition::{Code, Nanos, Op, PartitionState, Reply, Verdict, Waiter};
use dstk_core::snapshot::{ChunkDecoder, ChunkEncoder};
use parking_lot::Mutex;

pub const KS: &str = "ks";
pub const KEY_LENGTH: usize = 2;
pub const SECOND: Nanos = 1_000_000_000;

pub fn node(name: &str) -> Arc<Node> {
    node_with(name, Settings::default())
}

pub fn node_with(name: &str, settings: Settings) -> Arc<Node> {
    let node = Node::new(name, &format!("{name}/1"), settings);
    node.set_address(&address(name));
    node
}

pub fn address(name: &str) -> String {
    format!("{name}:1")
}

pub fn clock() -> Nanos {
    0
}

pub fn key(number: u8) -> [u8; KEY_LENGTH] {
    [number, 0]
}

/// A node that is primary of everything, as partition `p` at epoch 1.
pub fn primary(name: &str) -> Arc<Node> {
    let node = node(name);
    node.serve(KS, "p", 1, KEY_LENGTH, b"", b"", false, 0)
        .unwrap();
    node
}

pub fn put(node: &Node, number: u8, text: &str) -> Reply {
    done(write(node, number, text, 0))
}

pub fn write(node: &Node, number: u8, text: &str, condition: u64) -> Outcome {
    let op = Op::Put {
        key: &key(number),
        value: text.as_bytes().into(),
        condition,
    };
    execute(node, op)
}

pub fn delete(node: &Node, number: u8, condition: u64) -> Reply {
    done(execute(
        node,
        Op::Delete {
            key: &key(number),
            condition,
        },
    ))
}

pub fn get(node: &Node, number: u8) -> Reply {
    done(execute(node, Op::Get { key: &key(number) }))
}

pub fn text(reply: &Reply) -> Option<&str> {
    reply
        .value
        .as_deref()
        .map(|value| std::str::from_utf8(value).unwrap())
}

fn execute(node: &Node, op: Op<'_>) -> Outcome {
    node.keyspace(KS).unwrap().execute(op, 0, || panic!("held"))
}

pub fn done(outcome: Outcome) -> Reply {
    match outcome {
        Outcome::Done(reply) => reply,
        other => panic!("{other:?}"),
    }
}

pub fn state(node: &Node, partition: &str) -> PartitionState {
    let mut states = node.states(Some(&[partition]), 0).unwrap();
    assert_eq!(states.len(), 1, "{partition} on {}", node.name());
    states.remove(0)
}

/// Collects the verdicts of held requests, in the order in which they come.
#[derive(Clone, Default)]
pub struct Verdicts(Arc<Mutex<Vec<(usize, Verdict)>>>);

struct Numbered(usize, Verdicts);

impl Waiter for Numbered {
    fn resume(self: Box<Self>, verdict: Verdict) {
        self.1.0.lock().push((self.0, verdict));
    }
}

impl Verdicts {
    pub fn waiter(&self, number: usize) -> Box<dyn Waiter> {
        Box::new(Numbered(number, self.clone()))
    }

    pub fn take(&self) -> Vec<(usize, Verdict)> {
        std::mem::take(&mut self.0.lock())
    }
}

/// A stream between two nodes whose snapshot has been sent.
pub struct Stream {
    reader: LogReader,
    follower: FollowStream,
    /// Rows that the snapshot brought.
    pub rows_sent: u64,
}

impl Stream {
    pub fn open(source: &Node, destination: &Node, spec: &FollowSpec) -> Result<Self, Refusal> {
        Self::open_until(source, destination, spec, usize::MAX).map(|(stream, _)| stream)
    }

    /// The same, but the stream breaks after so many chunks: then the flag is false.
    pub fn open_until(
        source: &Node,
        destination: &Node,
        spec: &FollowSpec,
        chunks: usize,
    ) -> Result<(Self, bool), Refusal> {
        let follower = destination.follow_stream(spec).unwrap();
        let digests = follower.digests().unwrap();
        let plan = source.open_reader(&spec.keyspace, &spec.partition, spec.epoch, &digests)?;
        follower
            .begin_snapshot(plan.sequence, plan.rows, plan.bytes, plan.bytes_to_send)
            .unwrap();
        let (mut sent, mut rows_sent) = (0, 0);
        for range in &plan.ranges {
            follower
                .drop_range(&range.start, range.end().unwrap_or_default())
                .unwrap();
            let snapshot = plan.snapshot.clone();
            let mut encoder =
                ChunkEncoder::with_chunk_bytes(snapshot, &range.start, range.end(), 200);
            while let Some(chunk) = encoder.next() {
                if sent == chunks {
                    follower.failed("the connection broke");
                    return Ok((
                        Self {
                            reader: plan.reader,
                            follower,
                            rows_sent,
                        },
                        false,
                    ));
                }
                let mut decoder = ChunkDecoder::new(spec.key_length);
                let chunk = decoder.decode(&chunk).unwrap();
                follower.install_chunk(&chunk).unwrap();
                rows_sent += chunk.rows() as u64;
                sent += 1;
            }
        }
        follower
            .end_snapshot(plan.sequence, plan.rows, plan.digest)
            .unwrap();
        Ok((
            Self {
                reader: plan.reader,
                follower,
                rows_sent,
            },
            true,
        ))
    }

    /// Sends one batch of the log; false when there is none, an error when the stream has ended.
    pub fn advance(&mut self, max_bytes: usize) -> Result<bool, String> {
        match self.reader.next(max_bytes) {
            Next::Batch(batch) => {
                let applied = self
                    .follower
                    .apply(batch.first, batch.effects)
                    .map_err(|error| error.to_string())?;
                self.reader.acknowledge(applied);
                Ok(true)
            }
            Next::Empty => {
                if let Some(state) = self.reader.source_state() {
                    let heard = self.follower.source_state(state.sequence, state.fenced);
                    heard.map_err(|error| error.to_string())?;
                }
                Ok(false)
            }
            Next::Ended(reason) => {
                self.follower.failed(reason.clone());
                Err(reason)
            }
        }
    }

    pub fn drain(&mut self) -> Result<(), String> {
        while self.advance(1 << 20)? {}
        Ok(())
    }

    pub fn follower(&self) -> &FollowStream {
        &self.follower
    }

    pub fn reader(&mut self) -> &mut LogReader {
        &mut self.reader
    }
}

pub fn follow(
    destination: &Node,
    partition: &str,
    epoch: u64,
    start: &[u8],
    end: &[u8],
    source: &Node,
) -> FollowSpec {
    let (source, incarnation) = (source.name(), source.incarnation());
    let address = address(source);
    destination
        .follow(
            KS,
            partition,
            epoch,
            KEY_LENGTH,
            start,
            end,
            source,
            &address,
            incarnation,
            false,
            0,
            0,
        )
        .unwrap()
        .start
        .unwrap()
}

/// Moves `p`, which covers everything, up to the fence: both ends hold the same.
pub fn drained(source: &Node, destination: &Node) -> (PartitionState, Stream) {
    let epoch = state(source, "p").epoch;
    let spec = follow(destination, "p", epoch, b"", b"", source);
    let mut stream = Stream::open(source, destination, &spec).unwrap();
    let fenced = source.fence(KS, "p", epoch, 1, 0).unwrap();
    stream.drain().unwrap();
    (fenced, stream)
}

pub fn superseded(result: Result<impl Sized, FollowError>) -> bool {
    matches!(result, Err(FollowError::Superseded(_)))
}

pub fn assert_code(reply: &Reply, code: Code, version: u64) {
    assert_eq!((reply.code, reply.version), (code, version), "{reply:?}");
}
