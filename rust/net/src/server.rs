//! The Data service of a worker.

use std::sync::Arc;
use std::time::Duration;

use dstk_core::key::readable;
use dstk_core::node::{KeyspaceStore, Page, Scan, ScanOutcome};
use dstk_core::partition::{Verdict, Waiter};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::codec::{BatchItem, RepliesWriter};
use crate::connection::Cause;
use crate::executor::{DeferredReply, Executor, Here, LAPSED, nobody_owns, wire_code};
use crate::identity::{Admission, Host};
use crate::operation::{Condition, Verb};
use crate::replicate::{self, ReplicationCounters};
use crate::routes::to_wire;
use crate::stream::{self, Answers};
use crate::wire::data_server::Data;
use crate::wire::{
    Batch, Code, DeleteRequest, GetRequest, KeyspaceRoutes, PutRequest, ReplicateMessage,
    ReplicateRequest, RoutesRequest, RoutesUpdate, RowReply, ScanReply, ScanRequest,
};

/// Messages that may wait between a stream's task and the transport.
const MESSAGES_AHEAD: usize = 2;

/// How long a scan that is held or passed on may take in all.
const SCAN_ROUNDS: u32 = 16;

/// Tells running streams that the worker stops, and how many there are.
#[derive(Debug, Clone)]
pub struct Stopping {
    stop: watch::Sender<bool>,
    close: watch::Sender<bool>,
    streams: watch::Sender<usize>,
}

impl Default for Stopping {
    fn default() -> Self {
        Self {
            stop: watch::Sender::new(false),
            close: watch::Sender::new(false),
            streams: watch::Sender::new(0),
        }
    }
}

impl Stopping {
    /// Asks every stream to end in good order.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Ends when the worker is asked to stop.
    pub async fn stopped(&self) {
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// Asks the servers to close their connections once what was answered has left.
    pub fn close(&self) {
        self.close.send_replace(true);
    }

    /// Ends when the connections are to be closed.
    pub async fn closing(self) {
        let _ = self.close.subscribe().wait_for(|close| *close).await;
    }

    /// Ends when no stream runs any more.
    pub async fn quiet(&self) {
        let _ = self
            .streams
            .subscribe()
            .wait_for(|streams| *streams == 0)
            .await;
    }

    /// Counts a stream until the guard is dropped.
    pub fn enter(&self) -> StreamGuard {
        self.streams.send_modify(|streams| *streams += 1);
        StreamGuard(self.streams.clone())
    }
}

/// A running stream.
#[derive(Debug)]
pub struct StreamGuard(watch::Sender<usize>);

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.send_modify(|streams| *streams -= 1);
    }
}

/// The service; clones share everything.
#[derive(Clone)]
pub struct DataService {
    /// Carries operations out.
    pub executor: Arc<Executor>,
    /// Who this is.
    pub host: Host,
    /// Says when to stop.
    pub stopping: Stopping,
    /// Where copies are sent from.
    pub replication: tokio::runtime::Handle,
    /// What was sent and received.
    pub replication_counters: Arc<ReplicationCounters>,
}

impl DataService {
    /// The keyspace of that name, or what to tell who asked for it.
    pub(crate) fn store(&self, keyspace: &str) -> Result<Arc<KeyspaceStore>, (Code, String)> {
        find_store(&self.executor, keyspace)
    }

    async fn single(
        &self,
        keyspace: &str,
        verb: Verb,
        key: &[u8],
        value: &[u8],
        condition: u64,
    ) -> RowReply {
        let store = match self.store(keyspace) {
            Ok(store) => store,
            Err((code, message)) => {
                return RowReply {
                    code: code.into(),
                    message,
                    ..Default::default()
                };
            }
        };
        if key.len() != store.key_length() {
            let message = format!(
                "key {} is {} bytes; keyspace {keyspace:?} takes {} (dstk.keys.text pads)",
                readable(key),
                key.len(),
                store.key_length(),
            );
            return RowReply {
                code: Code::Invalid.into(),
                message,
                ..Default::default()
            };
        }
        let (late, mut ended) = mpsc::unbounded_channel();
        let item = BatchItem {
            id: 0,
            verb,
            key,
            value,
            condition: Condition(condition),
        };
        loop {
            let mut replies = RepliesWriter::default();
            let now = self.executor.now();
            let here = Here::new(&store, now);
            let waits = self
                .executor
                .execute(&here, item, 0, now, &late, &mut replies);
            if !waits {
                if here.has_lapsed(self.executor.now()) {
                    return lapsed_row(verb);
                }
                let replies = replies.take();
                return RowReply {
                    code: i32::from(
                        replies
                            .codes
                            .first()
                            .copied()
                            .unwrap_or(Code::Unavailable as u8),
                    ),
                    version: replies.versions.first().copied().unwrap_or(0),
                    value: replies.values,
                    message: replies
                        .failures
                        .into_iter()
                        .next()
                        .map(|failure| failure.message)
                        .unwrap_or_default(),
                };
            }
            match ended.recv().await {
                Some(DeferredReply::Reply {
                    here: Some(here), ..
                }) if here.has_lapsed(self.executor.now()) => {
                    return lapsed_row(verb);
                }
                Some(DeferredReply::Reply { reply, .. }) => {
                    return RowReply {
                        code: reply.code.into(),
                        version: reply.version,
                        value: reply.value.unwrap_or_default(),
                        message: reply.message.into(),
                    };
                }
                Some(DeferredReply::Retry(_)) => {}
                None => {
                    return RowReply {
                        code: Code::Unavailable.into(),
                        ..Default::default()
                    };
                }
            }
        }
    }

    async fn page(&self, mut request: ScanRequest) -> ScanReply {
        let store = match self.store(&request.keyspace) {
            Ok(store) => store,
            Err((code, message)) => return failed_scan(code, message),
        };
        if request.limit == 0 {
            return failed_scan(Code::Invalid, "a scan needs a limit of at least 1 row");
        }
        for _ in 0..SCAN_ROUNDS {
            if self.executor.is_stopping() {
                let text = format!(
                    "worker {} is stopping: ask another",
                    self.executor.node().name()
                );
                return failed_scan(Code::Unavailable, text);
            }
            let scan = Scan {
                start: &request.start,
                end: &request.end,
                reverse: request.reverse,
                limit: request.limit as usize,
                max_bytes: request.max_bytes as usize,
            };
            let (verdict, resumed) = oneshot::channel();
            let now = self.executor.now();
            let here = Here::new(&store, now);
            let outcome = store.scan(&scan, now, || Box::new(HeldScan(verdict)));
            let target = match outcome {
                ScanOutcome::Page(page) => {
                    return match self.executor.wait_durable(page.after).await {
                        Ok(()) if here.has_lapsed(self.executor.now()) => {
                            failed_scan(Code::Unavailable, LAPSED)
                        }
                        Ok(()) => scan_reply(page),
                        Err(reason) => {
                            let text = format!("the log cannot be written: {reason}");
                            failed_scan(Code::Unavailable, text)
                        }
                    };
                }
                ScanOutcome::Failed(reply) => {
                    return failed_scan(wire_code(reply.code), reply.message.unwrap_or_default());
                }
                ScanOutcome::NotHere => {
                    let key = if request.reverse {
                        &request.end
                    } else {
                        &request.start
                    };
                    return failed_scan(Code::Unavailable, nobody_owns(&store, key));
                }
                ScanOutcome::Forward(target) => target,
                ScanOutcome::Parked => match resumed.await {
                    Ok(Verdict::Forward(target)) => target,
                    Ok(Verdict::Unavailable(reason)) => {
                        return failed_scan(Code::Unavailable, reason);
                    }
                    Ok(Verdict::Retry | Verdict::Done(_)) => continue,
                    Err(_) => {
                        return failed_scan(Code::Unavailable, "the partition is gone: try again");
                    }
                },
            };
            if let Err(text) = self.executor.may_pass_on(request.hops, &target) {
                return failed_scan(Code::Unavailable, text);
            }
            request.hops += 1;
            return self
                .pass_scan_on(request, &target.address, &target.worker)
                .await;
        }
        failed_scan(
            Code::Unavailable,
            "the scan was held again and again: try again",
        )
    }

    async fn pass_scan_on(
        &self,
        request: ScanRequest,
        address: &Arc<str>,
        worker: &Arc<str>,
    ) -> ScanReply {
        let peers = self.executor.peers();
        let connection = peers.connection(address);
        let ask = async {
            let mut client = connection.client().await.map_err(|cause| match cause {
                Cause::Broken(reason) | Cause::Stranger(reason) => reason.to_string(),
                cause => format!("{cause:?}"),
            })?;
            let home = peers.home();
            let reply = client.scan(home.ask(request, Some(worker))).await;
            home.answer(address, Some(worker), reply)
                .map_err(|failed| failed.text(address))
        };
        match tokio::time::timeout(self.executor.settings().forward_timeout, ask).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(reason)) => failed_scan(
                Code::Unavailable,
                format!("passing a scan on to {worker}: {reason}"),
            ),
            Err(_) => failed_scan(
                Code::Unavailable,
                format!("{worker} did not answer a scan in time"),
            ),
        }
    }
}

/// The keyspace of that name on the executor's node, or what to tell who asked for it.
pub(crate) fn find_store(
    executor: &Executor,
    keyspace: &str,
) -> Result<Arc<KeyspaceStore>, (Code, String)> {
    let node = executor.node();
    node.keyspace(keyspace).ok_or_else(|| {
        if node.routes_version() == 0 {
            (
                Code::Unavailable,
                format!(
                    "worker {} has not been told the routes yet: try again",
                    node.name()
                ),
            )
        } else {
            (
                Code::UnknownKeyspace,
                format!("there is no keyspace {keyspace:?}: create it, or check the name"),
            )
        }
    })
}

struct HeldScan(oneshot::Sender<Verdict>);

impl Waiter for HeldScan {
    fn resume(self: Box<Self>, verdict: Verdict) {
        // Who asked may have gone.
        let _ = self.0.send(verdict);
    }
}

fn failed_scan(code: Code, message: impl Into<String>) -> ScanReply {
    ScanReply {
        code: code.into(),
        message: message.into(),
        ..Default::default()
    }
}

/// What is told of an operation that was carried out under a lease which has run out since.
fn lapsed_row(verb: Verb) -> RowReply {
    let code = match verb {
        Verb::Get => Code::Unavailable,
        Verb::Put | Verb::Delete => Code::OutcomeUnknown,
    };
    RowReply {
        code: code.into(),
        message: LAPSED.into(),
        ..Default::default()
    }
}

fn scan_reply(page: Page) -> ScanReply {
    let value_lengths = page.values.iter().map(|value| value.len() as u32).collect();
    let mut values = Vec::with_capacity(page.values.iter().map(|value| value.len()).sum());
    page.values
        .iter()
        .for_each(|value| values.extend_from_slice(value));
    ScanReply {
        code: Code::Ok.into(),
        message: String::new(),
        rows: page.versions.len() as u32,
        keys: page.keys.into(),
        versions: page.versions,
        value_lengths,
        values: values.into(),
        done: page.cursor.is_none(),
        cursor: page.cursor.map(Vec::from).unwrap_or_default().into(),
    }
}

#[tonic::async_trait]
impl Data for DataService {
    type StreamStream = Answers;
    type RoutesStream = ReceiverStream<Result<RoutesUpdate, Status>>;
    type ReplicateStream = ReceiverStream<Result<ReplicateMessage, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<Batch>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let admission = self.host.admit(request.metadata())?;
        let (sink, outgoing) = stream::answers(MESSAGES_AHEAD);
        let guard = self.stopping.enter();
        let (executor, stopping) = (Arc::clone(&self.executor), self.stopping.clone());
        tokio::spawn(async move {
            stream::serve(executor, admission, stopping, request.into_inner(), sink).await;
            drop(guard);
        });
        Ok(self.host.respond(outgoing))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<RowReply>, Status> {
        self.host.admit(request.metadata())?;
        let get = request.into_inner();
        Ok(self.host.respond(
            self.single(&get.keyspace, Verb::Get, &get.key, &[], 0)
                .await,
        ))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<RowReply>, Status> {
        self.host.admit(request.metadata())?;
        let put = request.into_inner();
        Ok(self.host.respond(
            self.single(
                &put.keyspace,
                Verb::Put,
                &put.key,
                &put.value,
                put.condition,
            )
            .await,
        ))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<RowReply>, Status> {
        self.host.admit(request.metadata())?;
        let delete = request.into_inner();
        Ok(self.host.respond(
            self.single(
                &delete.keyspace,
                Verb::Delete,
                &delete.key,
                &[],
                delete.condition,
            )
            .await,
        ))
    }

    async fn scan(&self, request: Request<ScanRequest>) -> Result<Response<ScanReply>, Status> {
        self.host.admit(request.metadata())?;
        Ok(self.host.respond(self.page(request.into_inner()).await))
    }

    async fn routes(
        &self,
        request: Request<RoutesRequest>,
    ) -> Result<Response<Self::RoutesStream>, Status> {
        let admission = self.host.admit(request.metadata())?;
        let keyspace = request.into_inner().keyspace;
        let key_length = if keyspace.is_empty() {
            0
        } else {
            let store = self.store(&keyspace).map_err(|(code, text)| match code {
                Code::UnknownKeyspace => Status::not_found(text),
                _ => Status::unavailable(text),
            })?;
            store.key_length()
        };
        let (updates, outgoing) = mpsc::channel(MESSAGES_AHEAD);
        let (executor, stopping) = (Arc::clone(&self.executor), self.stopping.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = push_routes(&executor, &admission, &keyspace, key_length, &updates) => {}
                () = updates.closed() => {}
                () = stopping.stopped() => {}
            }
        });
        Ok(self.host.respond(ReceiverStream::new(outgoing)))
    }

    async fn replicate(
        &self,
        request: Request<Streaming<ReplicateRequest>>,
    ) -> Result<Response<Self::ReplicateStream>, Status> {
        let admission = self.host.admit(request.metadata())?;
        let (messages, outgoing) = mpsc::channel(replicate::MESSAGES_AHEAD);
        let (executor, stopping) = (Arc::clone(&self.executor), self.stopping.clone());
        let counters = Arc::clone(&self.replication_counters);
        self.replication.spawn(async move {
            tokio::select! {
                () = replicate::serve(&executor, admission, &counters, request.into_inner(), &messages) => {}
                () = stopping.stopped() => {
                    let text = format!("worker {} is stopping", executor.node().name());
                    let _ = tokio::time::timeout(Duration::from_secs(1), messages.send(Err(Status::unavailable(text)))).await;
                }
            }
        });
        Ok(self.host.respond(ReceiverStream::new(outgoing)))
    }
}

/// Sends the whole table, then what changes, until nobody listens, or has to ask anew.
async fn push_routes(
    executor: &Executor,
    admission: &Admission,
    keyspace: &str,
    key_length: usize,
    updates: &mpsc::Sender<Result<RoutesUpdate, Status>>,
) {
    let changed = Arc::new(Notify::new());
    let wake = Arc::clone(&changed);
    let _watch = executor
        .node()
        .watch_routes(Arc::new(move || wake.notify_one()));
    let mut known = 0;
    let mut first = true;
    loop {
        let (version, update) = executor.node().routes_after(known);
        if admission.is_stale() {
            return;
        }
        let mut update = to_wire(update, keyspace);
        if (first || update.full) && key_length > 0 && update.keyspaces.is_empty() {
            // A keyspace without routes still has a key length, which whoever asks has to know.
            let keyspace = keyspace.to_owned();
            update.keyspaces.push(KeyspaceRoutes {
                keyspace,
                key_length: key_length as u32,
                ..Default::default()
            });
        }
        let news = first
            || version != known && !(update.keyspaces.is_empty() && update.workers.is_empty());
        update.full |= first;
        if news && updates.send(Ok(update)).await.is_err() {
            return;
        }
        (known, first) = (version, false);
        changed.notified().await;
    }
}
