//! The source's end of a follow stream.

use std::collections::VecDeque;
use std::sync::Arc;

use dstk_core::faults::Point;
use dstk_core::log::LogBatch;
use dstk_core::node::{LogReader, Next, Refusal, SnapshotPlan, SourceState};
use dstk_core::snapshot::{ChunkEncoder, Compression};
use dstk_core::tree::drop_in_background;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tonic::{Status, Streaming};

use super::{ReplicationCounters, add, write_entries};
use crate::executor::Executor;
use crate::faults;
use crate::identity::Admission;
use crate::wire::replicate_message::Message;
use crate::wire::{
    self, DropRange, ReplicateMessage, ReplicateRequest, SnapshotEnd, SnapshotStart,
};

/// Bytes of log entries in one message, about.
const ENTRIES_BYTES: usize = 256 << 10;

type Messages = mpsc::Sender<Result<ReplicateMessage, Status>>;

/// The follower has gone, or everything there was to say is said.
struct Over;

/// Sends the partition that the first request names until the follower ends the stream or the log does.
pub(crate) async fn serve(
    executor: &Executor,
    admission: Admission,
    counters: &ReplicationCounters,
    mut requests: Streaming<ReplicateRequest>,
    messages: &Messages,
) {
    let first = match requests.message().await {
        Ok(Some(first)) => first,
        Ok(None) | Err(_) => return,
    };
    add(&counters.streams_served, 1);
    let plan = match open(executor, &first) {
        Ok(plan) => plan,
        Err(status) => {
            let _ = messages.send(Err(status)).await;
            return;
        }
    };
    tracing::debug!(
        partition = first.partition,
        follower = first.follower,
        rows = plan.rows,
        "follower begins"
    );
    let period = executor.settings().replication_state;
    let mut tick = interval_at(Instant::now() + period, period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut source = Source {
        partition: &first.partition,
        counters,
        admission,
        messages,
        tick,
        window: executor.settings().replication_window,
        compression: executor.settings().replication_compression,
    };
    if let Ok(reader) = source.send_snapshot(plan).await {
        // Only says why it is over; nobody is left to be told.
        let _ = source.send_log(reader, &mut requests).await;
    }
}

fn open(executor: &Executor, first: &ReplicateRequest) -> Result<SnapshotPlan, Status> {
    let node = executor.node();
    if !first.source_incarnation.is_empty() && *first.source_incarnation != **node.incarnation() {
        return Err(Status::failed_precondition(format!(
            "worker {} is incarnation {} now, not {}: what it held is gone",
            node.name(),
            node.incarnation(),
            first.source_incarnation,
        )));
    }
    let plan = node.open_reader(
        &first.keyspace,
        &first.partition,
        first.epoch,
        &first.digests,
    );
    plan.map_err(|refusal| match refusal {
        Refusal::NotHere(text) => Status::not_found(text),
        Refusal::Limit(text) => Status::resource_exhausted(text),
        Refusal::NotReady(text) => Status::unavailable(text),
        Refusal::Invalid(text) => Status::invalid_argument(text),
        other => Status::failed_precondition(other.to_string()),
    })
}

struct Source<'a> {
    partition: &'a str,
    counters: &'a ReplicationCounters,
    admission: Admission,
    messages: &'a Messages,
    tick: Interval,
    window: usize,
    compression: Compression,
}

impl Source<'_> {
    async fn reach(&self, point: Point) -> Result<(), Over> {
        faults::reach(point, self.partition).await.map_err(|_| Over)
    }

    async fn send(&self, message: Message) -> Result<(), Over> {
        if self.admission.is_stale() {
            return Err(Over);
        }
        self.messages
            .send(Ok(ReplicateMessage {
                message: Some(message),
            }))
            .await
            .map_err(|_| Over)
    }

    async fn send_state(&self, state: SourceState) -> Result<(), Over> {
        self.send(Message::Source(wire::SourceState {
            sequence: state.sequence,
            fenced: state.fenced,
        }))
        .await
    }

    async fn send_snapshot(&mut self, plan: SnapshotPlan) -> Result<LogReader, Over> {
        let SnapshotPlan {
            snapshot,
            sequence,
            rows,
            bytes,
            digest,
            ranges,
            bytes_to_send,
            reader,
        } = plan;
        self.reach(Point::BeforeSendSnapshot).await?;
        self.send(Message::SnapshotStart(SnapshotStart {
            sequence,
            rows,
            bytes,
            bytes_to_send,
        }))
        .await?;
        for range in &ranges {
            let start = range.start.to_vec().into();
            let end = range.end().unwrap_or_default().to_vec().into();
            self.send(Message::Drop(DropRange { start, end })).await?;
            let mut chunks = ChunkEncoder::new(snapshot.clone(), &range.start, range.end())
                .compressed(self.compression);
            while let Some(chunk) = chunks.next() {
                add(&self.counters.chunks_sent, 1);
                add(&self.counters.chunk_bytes_sent, chunk.len());
                self.send(Message::Chunk(chunk.into())).await?;
                self.reach(Point::AfterSendChunk).await?;
                if due(&mut self.tick)
                    && let Some(state) = reader.source_state()
                {
                    self.send_state(state).await?;
                }
            }
        }
        drop_in_background(snapshot);
        self.send(Message::SnapshotEnd(SnapshotEnd {
            sequence,
            rows,
            digest,
        }))
        .await?;
        Ok(reader)
    }

    async fn send_log(
        &mut self,
        mut reader: LogReader,
        requests: &mut Streaming<ReplicateRequest>,
    ) -> Result<(), Over> {
        let news = Arc::new(Notify::new());
        let wake = Arc::clone(&news);
        reader.set_wake(Arc::new(move || wake.notify_one()));
        let mut window = Window::new(self.window);
        let mut told: Option<SourceState> = None;
        loop {
            while window.is_open() {
                match reader.next(ENTRIES_BYTES) {
                    Next::Batch(batch) => {
                        window.sent(&batch);
                        add(&self.counters.entries_sent, batch.effects.len());
                        self.reach(Point::BeforeSendEntries).await?;
                        self.send(Message::Entries(write_entries(&batch))).await?;
                    }
                    Next::Empty => break,
                    Next::Ended(reason) => return self.send(Message::Failed(reason)).await,
                }
            }
            let state = reader.source_state();
            if let Some(state) =
                state.filter(|state| told.is_none_or(|told| told.fenced != state.fenced))
            {
                self.send_state(state).await?;
                told = Some(state);
            }
            tokio::select! {
                request = requests.message() => match request {
                    Ok(Some(request)) => {
                        reader.acknowledge(request.applied);
                        window.acknowledged(request.applied);
                    }
                    Ok(None) | Err(_) => return Err(Over),
                },
                () = news.notified(), if window.is_open() => {}
                _ = self.tick.tick() => if let Some(state) = reader.source_state() {
                    self.send_state(state).await?;
                    told = Some(state);
                },
            }
        }
    }
}

/// Whether the next tick of `interval` has come, without waiting for it.
fn due(interval: &mut Interval) -> bool {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    interval.poll_tick(&mut context).is_ready()
}

/// Entries sent and not acknowledged, bounded in bytes.
struct Window {
    limit: usize,
    open: usize,
    sent: VecDeque<(u64, usize)>,
}

impl Window {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            open: 0,
            sent: VecDeque::new(),
        }
    }

    fn is_open(&self) -> bool {
        self.open < self.limit
    }

    fn sent(&mut self, batch: &LogBatch) {
        let bytes = batch
            .effects
            .iter()
            .map(|effect| effect.cost() as usize)
            .sum();
        self.open += bytes;
        self.sent
            .push_back((batch.first + batch.effects.len() as u64 - 1, bytes));
    }

    fn acknowledged(&mut self, sequence: u64) {
        while let Some((last, bytes)) = self.sent.front()
            && *last <= sequence
        {
            self.open -= bytes;
            self.sent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use dstk_core::log::Effect;

    use super::*;

    #[test]
    fn the_window_closes_at_its_bytes_and_opens_with_the_acknowledgement() {
        let batch = |first, value: usize| LogBatch {
            first,
            effects: vec![
                Effect::Put {
                    key: vec![0; 8].into(),
                    value: vec![0; value].into()
                };
                2
            ],
        };
        let mut window = Window::new(1000);
        window.sent(&batch(5, 100));
        assert!(window.is_open());
        window.sent(&batch(7, 600));
        assert!(!window.is_open());
        window.acknowledged(6);
        assert!(!window.is_open());
        window.acknowledged(7);
        assert!(!window.is_open(), "8 is the last of the second batch");
        window.acknowledged(8);
        assert!(window.is_open());
        assert_eq!(window.open, 0);
    }
}
