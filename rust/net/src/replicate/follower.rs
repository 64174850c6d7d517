//! The follower's end of a follow stream.

use std::sync::Arc;
use std::time::Duration;

use dstk_core::faults::Point;
use dstk_core::node::{FollowError, FollowSpec, FollowStream, Node};
use dstk_core::snapshot::ChunkDecoder;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::WatchStream;
use tonic::transport::Endpoint;

use super::{
    CONNECTION_WINDOW, FRAME_BYTES, MESSAGE_BYTES, ReplicationCounters, STREAM_WINDOW, add,
    read_entries,
};
use crate::connection::{causes, status_text};
use crate::faults;
use crate::identity::Home;
use crate::settings::WorkerSettings;
use crate::wire::data_client::DataClient;
use crate::wire::replicate_message::Message;
use crate::wire::{ReplicateMessage, ReplicateRequest};

/// A source that says nothing for so many of its state periods, and no less than [`SILENCE`], is believed dead.
const SILENT_PERIODS: u32 = 50;
const SILENCE: Duration = Duration::from_secs(10);

/// Loads a partition from its source and follows its log, through as many streams as it takes.
pub struct Follower {
    /// Whom to feed.
    pub node: Arc<Node>,
    /// What to follow.
    pub spec: FollowSpec,
    /// The bounds.
    pub settings: WorkerSettings,
    /// The cluster that the source has to be of.
    pub home: Arc<Home>,
    /// What was received.
    pub counters: Arc<ReplicationCounters>,
}

/// Why a stream ended.
enum End {
    /// The node wants no more of it.
    Superseded,
    /// There is no room for it here: it is not tried again unasked.
    NoRoom(String),
    /// It broke, or brought what does not fit: it may be resumed.
    Broken(String),
}

impl From<FollowError> for End {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::Superseded(_) => Self::Superseded,
            FollowError::NoRoom(reason) => Self::NoRoom(reason),
            error => Self::Broken(error.to_string()),
        }
    }
}

impl Follower {
    /// Runs until the node no longer wants this stream: the partition was promoted, dropped or followed anew.
    ///
    /// A stream that breaks is resumed after a pause that doubles from `follow_retry_seconds`; only what differs
    /// is sent again.
    pub async fn run(self) {
        let mut pause = self.settings.follow_retry;
        loop {
            let Ok(stream) = self.node.follow_stream(&self.spec) else {
                return;
            };
            add(&self.counters.streams_opened, 1);
            let mut progressed = false;
            match self.follow(&stream, &mut progressed).await {
                End::Superseded => return,
                End::NoRoom(reason) => {
                    let FollowSpec {
                        partition, source, ..
                    } = &self.spec;
                    tracing::warn!(%partition, %source, reason, "follow stream ended for want of room");
                    add(&self.counters.streams_broken, 1);
                    return;
                }
                End::Broken(reason) => {
                    let FollowSpec {
                        partition, source, ..
                    } = &self.spec;
                    tracing::warn!(%partition, %source, reason, "follow stream broke");
                    add(&self.counters.streams_broken, 1);
                    stream.failed(reason);
                }
            }
            drop(stream);
            if progressed {
                pause = self.settings.follow_retry;
            }
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
            pause = (pause * 2).min(self.settings.follow_retry_limit);
        }
    }

    async fn follow(&self, stream: &FollowStream, progressed: &mut bool) -> End {
        match self.feed(stream, progressed).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn feed(
        &self,
        stream: &FollowStream,
        progressed: &mut bool,
    ) -> Result<std::convert::Infallible, End> {
        let address = &self.spec.source_address;
        let endpoint = self
            .endpoint()
            .map_err(|error| End::Broken(format!("{address}: {}", causes(&error))))?;
        let channel = timeout(self.settings.connection.connect_timeout, endpoint.connect())
            .await
            .map_err(|_| End::Broken(format!("cannot connect to {address}: no answer")))?
            .map_err(|error| {
                End::Broken(format!("cannot connect to {address}: {}", causes(&error)))
            })?;
        let mut client = DataClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES);
        let (applied, acknowledgements) = watch::channel(0);
        let first = ReplicateRequest {
            keyspace: self.spec.keyspace.to_string(),
            partition: self.spec.partition.to_string(),
            epoch: self.spec.epoch,
            follower: self.node.name().to_string(),
            source_incarnation: self.spec.source_incarnation.clone(),
            digests: stream.digests()?.into(),
            applied: 0,
        };
        // Of acknowledgements only the newest counts.
        let later = WatchStream::from_changes(acknowledgements).map(|applied| ReplicateRequest {
            applied,
            ..ReplicateRequest::default()
        });
        let requests = tokio_stream::once(first).chain(later);
        let broken = |status: tonic::Status| End::Broken(status_text(&status));
        let source: Arc<str> = self.spec.source.as_str().into();
        let answer = client
            .replicate(self.home.ask(requests, Some(&source)))
            .await;
        let mut messages = self
            .home
            .answer(address, Some(&source), answer)
            .map_err(|failed| End::Broken(failed.text(address)))?;
        let mut decoder = ChunkDecoder::new(self.spec.key_length);
        let silence = SILENCE.max(self.settings.replication_state * SILENT_PERIODS);
        loop {
            let message = timeout(silence, messages.message())
                .await
                .map_err(|_| {
                    End::Broken(format!(
                        "{address} said nothing for {} s",
                        silence.as_secs()
                    ))
                })?
                .map_err(broken)?
                .ok_or_else(|| End::Broken(format!("{address} ended the stream")))?;
            if let Some(sequence) = self.take(stream, &mut decoder, message).await? {
                // Fails only when the stream is over, which the next read says.
                let _ = applied.send(sequence);
                *progressed = true;
            }
        }
    }

    /// Feeds one message to the node; the sequence to acknowledge, if it is a new one.
    async fn take(
        &self,
        stream: &FollowStream,
        decoder: &mut ChunkDecoder,
        message: ReplicateMessage,
    ) -> Result<Option<u64>, End> {
        let damaged = |error: &dyn std::error::Error| End::Broken(error.to_string());
        match message.message {
            Some(Message::SnapshotStart(start)) => {
                stream.begin_snapshot(
                    start.sequence,
                    start.rows,
                    start.bytes,
                    start.bytes_to_send,
                )?;
            }
            Some(Message::Drop(range)) => stream.drop_range(&range.start, &range.end)?,
            Some(Message::Chunk(bytes)) => {
                {
                    let chunk = decoder.decode(&bytes).map_err(|error| damaged(&error))?;
                    stream.install_chunk(&chunk)?;
                }
                add(&self.counters.chunks_installed, 1);
                add(&self.counters.chunk_bytes_installed, bytes.len());
                self.reach(Point::AfterInstallChunk).await?;
            }
            Some(Message::SnapshotEnd(end)) => {
                self.reach(Point::BeforeEndSnapshot).await?;
                stream.end_snapshot(end.sequence, end.rows, end.digest)?;
                self.reach(Point::AfterEndSnapshot).await?;
                return Ok(Some(end.sequence));
            }
            Some(Message::Entries(entries)) => {
                let effects = read_entries(&entries, self.spec.key_length)
                    .map_err(|error| damaged(&error))?;
                add(&self.counters.entries_applied, effects.len());
                let applied = stream.apply(entries.first, effects)?;
                self.reach(Point::AfterApplyEntries).await?;
                return Ok(Some(applied));
            }
            Some(Message::Source(state)) => stream.source_state(state.sequence, state.fenced)?,
            Some(Message::Failed(reason)) => {
                return Err(End::Broken(format!("the source gave up: {reason}")));
            }
            // Of a newer version than this one: it is for the sender to do without.
            None => {}
        }
        Ok(None)
    }

    async fn reach(&self, point: Point) -> Result<(), End> {
        faults::reach(point, &self.spec.partition)
            .await
            .map_err(|error| End::Broken(error.to_string()))
    }

    fn endpoint(&self) -> Result<Endpoint, tonic::transport::Error> {
        let keepalive = self.settings.connection.keepalive;
        Ok(
            Endpoint::from_shared(format!("http://{}", self.spec.source_address))?
                .connect_timeout(self.settings.connection.connect_timeout)
                .tcp_nodelay(true)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_frame_size(FRAME_BYTES)
                .http2_keep_alive_interval(keepalive)
                .keep_alive_timeout(keepalive),
        )
    }
}
