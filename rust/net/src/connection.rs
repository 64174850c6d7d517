//! One bidirectional stream to a worker: what waits leaves as one message, answers come back by id.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use dstk_core::faults::Point;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

use crate::codec::{BatchWriter, read_replies};
use crate::faults::reach;
use crate::identity::{Failed, Home};
use crate::operation::{Operation, Reply, Verb};
use crate::settings::ConnectionSettings;
use crate::wire::data_client::DataClient;
use crate::wire::{Batch, Hint};

/// How often deadlines are looked at: an operation may overrun its own by this much.
const DEADLINE_CHECK: Duration = Duration::from_millis(25);

/// Messages that may wait between the stream and the transport; what is in them counts as sent.
const MESSAGES_AHEAD: usize = 2;

/// HTTP/2 windows of data connections, in bytes. Replication has larger ones of its own.
pub(crate) const STREAM_WINDOW: u32 = 2 << 20;
pub(crate) const CONNECTION_WINDOW: u32 = 4 << 20;

/// An operation under way, and who wants to know how it ends.
pub trait Call: Send + 'static {
    /// What is reached when such calls have left, and when answers have come and nobody has been told; none: nothing.
    const POINTS: Option<[Point; 2]> = None;
    /// What is asked.
    fn operation(&self) -> &Operation;
    /// Of which keyspace.
    fn keyspace(&self) -> &Arc<str>;
    /// The worker that is meant; none: any of the cluster.
    fn meant(&self) -> Option<&Arc<str>>;
    /// Workers that have passed it on already.
    fn hops(&self) -> u32;
    /// When an answer is of no use any more.
    fn deadline(&self) -> Instant;
    /// How it ended; called once, from the connection's task or from [`Connection::submit`]. Must not block.
    fn complete(self, ended: Ended);
}

/// How a [`Call`] ended.
#[derive(Debug, Clone)]
pub enum Ended {
    /// The worker answered.
    Answered {
        /// Its answer.
        reply: Reply,
        /// Where keys of the same message live now, if the worker thinks that we should know.
        hints: Option<Arc<[Hint]>>,
    },
    /// The worker has not taken it: it was not applied.
    NotSent(Cause),
    /// It left and no answer came: a write may or may not have been applied.
    Unanswered(Cause),
}

/// Why a call ended without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The connection could not be made, or broke: why.
    Broken(Arc<str>),
    /// Another worker than the one that was meant is at the address: who.
    Stranger(Arc<str>),
    /// Its deadline passed.
    Deadline,
    /// More operations are open on the connection than may be.
    Full(usize),
    /// Their keys and values are more bytes than may be.
    FullBytes(usize),
}

/// One stream to one worker. Clones share it; it closes with the last of them.
pub struct Connection<C: Call> {
    handle: Arc<ConnectionHandle<C>>,
}

struct ConnectionHandle<C: Call> {
    shared: Arc<Shared<C>>,
}

struct Shared<C> {
    address: Arc<str>,
    home: Arc<Home>,
    settings: ConnectionSettings,
    queue: Mutex<Queue<C>>,
    waiting: Notify,
    closing: Notify,
    link: watch::Sender<Link>,
}

struct Queue<C> {
    calls: VecDeque<C>,
    /// Submitted and not ended yet, sent or not.
    open: Open,
    /// The worker that answers, once it has said so.
    found: Option<Arc<str>>,
    closed: Option<Cause>,
}

/// How many calls, and the bytes of their keys and values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Open {
    calls: usize,
    bytes: usize,
}

#[derive(Clone)]
enum Link {
    Connecting,
    Up(DataClient<Channel>),
    Down(Cause),
}

impl<C: Call> Clone for Connection<C> {
    fn clone(&self) -> Self {
        Self {
            handle: Arc::clone(&self.handle),
        }
    }
}

impl<C: Call> Drop for ConnectionHandle<C> {
    fn drop(&mut self) {
        self.shared.closing.notify_one();
    }
}

impl<C: Call> Connection<C> {
    /// Starts to connect to `address` (`host:port`) on `runtime`; calls may be submitted at once.
    pub fn open(
        address: &str,
        settings: &ConnectionSettings,
        runtime: &Handle,
        home: &Arc<Home>,
    ) -> Self {
        let shared = Arc::new(Shared {
            address: address.into(),
            home: Arc::clone(home),
            settings: settings.clone(),
            queue: Mutex::new(Queue {
                calls: VecDeque::new(),
                open: Open::default(),
                found: None,
                closed: None,
            }),
            waiting: Notify::new(),
            closing: Notify::new(),
            link: watch::Sender::new(Link::Connecting),
        });
        runtime.spawn(drive(Arc::clone(&shared)));
        Self {
            handle: Arc::new(ConnectionHandle { shared }),
        }
    }

    /// The worker's address, as it was given.
    pub fn address(&self) -> &Arc<str> {
        &self.handle.shared.address
    }

    /// Whether it has ended: every later call ends at once.
    pub fn is_closed(&self) -> bool {
        self.handle.shared.queue.lock().closed.is_some()
    }

    /// Sends `call` after those submitted before it.
    pub fn submit(&self, call: C) {
        let shared = &self.handle.shared;
        let (most, most_bytes) = (shared.settings.open_operations, shared.settings.open_bytes);
        let bytes = bytes_of(&call);
        let mut queue = shared.queue.lock();
        let open = queue.open;
        let cause = match &queue.closed {
            Some(cause) => cause.clone(),
            None if queue.is_stranger(&call) => {
                stranger(&shared.address, queue.found.as_ref(), &call)
            }
            None if open.calls >= most => Cause::Full(most),
            None if open.bytes > 0 && open.bytes + bytes > most_bytes => {
                Cause::FullBytes(most_bytes)
            }
            None => {
                queue.open.calls += 1;
                queue.open.bytes += bytes;
                queue.calls.push_back(call);
                let first = queue.calls.len() == 1;
                drop(queue);
                if first {
                    shared.waiting.notify_one();
                }
                return;
            }
        };
        drop(queue);
        call.complete(Ended::NotSent(cause));
    }

    /// The plain methods over the same connection, once it is made.
    pub async fn client(&self) -> Result<DataClient<Channel>, Cause> {
        let mut link = self.handle.shared.link.subscribe();
        let state = link
            .wait_for(|link| !matches!(link, Link::Connecting))
            .await
            .map(|link| link.clone());
        match state {
            Ok(Link::Up(client)) => Ok(client),
            Ok(Link::Down(cause)) => Err(cause),
            Ok(Link::Connecting) | Err(_) => Err(Cause::Broken("the connection was closed".into())),
        }
    }
}

/// Bytes of a call's key and value.
fn bytes_of<C: Call>(call: &C) -> usize {
    let operation = call.operation();
    operation.key.len() + operation.value.len()
}

/// The transport of a data connection.
pub(crate) fn endpoint(
    address: &str,
    settings: &ConnectionSettings,
) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(settings.connect_timeout)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(settings.keepalive)
        .keep_alive_timeout(settings.keepalive))
}

/// An error with all of its causes, which tonic's own text leaves out.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}

/// A status as a person reads it.
pub(crate) fn status_text(status: &tonic::Status) -> String {
    let causes = causes(status);
    if status.message().is_empty() {
        causes
    } else {
        status.message().into()
    }
}

/// How a session ended.
struct SessionEnd {
    cause: Cause,
    /// The worker ended the stream in good order: it has answered whatever it took.
    orderly: bool,
}

async fn drive<C: Call>(shared: Arc<Shared<C>>) {
    let pending = Mutex::new(Pending::new());
    let end = tokio::select! {
        end = session(&shared, &pending) => end,
        () = watch_deadlines(&shared, &pending) => SessionEnd::broken("the connection was closed"),
        () = shared.closing.notified() => SessionEnd::broken("the connection was closed"),
    };
    let calls = {
        let mut queue = shared.queue.lock();
        queue.closed = Some(end.cause.clone());
        std::mem::take(&mut queue.calls)
    };
    shared.link.send_replace(Link::Down(end.cause.clone()));
    for call in pending.into_inner().into_calls() {
        let cause = end.cause.clone();
        call.complete(if end.orderly {
            Ended::NotSent(cause)
        } else {
            Ended::Unanswered(cause)
        });
    }
    for call in calls {
        call.complete(Ended::NotSent(end.cause.clone()));
    }
}

impl SessionEnd {
    fn broken(reason: impl Into<Arc<str>>) -> Self {
        Self {
            cause: Cause::Broken(reason.into()),
            orderly: false,
        }
    }

    /// Before anything was sent.
    fn stranger(who: Arc<str>) -> Self {
        Self {
            cause: Cause::Stranger(who),
            orderly: true,
        }
    }
}

async fn session<C: Call>(shared: &Shared<C>, pending: &Mutex<Pending<C>>) -> SessionEnd {
    let address = &shared.address;
    let endpoint = match endpoint(address, &shared.settings) {
        Ok(endpoint) => endpoint,
        Err(error) => {
            return SessionEnd::broken(format!("{address} is no address: {}", causes(&error)));
        }
    };
    let connecting = tokio::time::timeout(shared.settings.connect_timeout, endpoint.connect());
    let channel = match connecting.await {
        Ok(Ok(channel)) => channel,
        Ok(Err(error)) => {
            return SessionEnd::broken(format!("cannot connect to {address}: {}", causes(&error)));
        }
        Err(_) => {
            let seconds = shared.settings.connect_timeout.as_secs_f64();
            return SessionEnd::broken(format!(
                "cannot connect to {address}: no answer within {seconds} s"
            ));
        }
    };
    let client =
        DataClient::new(channel).max_decoding_message_size(shared.settings.message_bytes());
    shared.link.send_replace(Link::Up(client.clone()));
    let (messages, outgoing) = mpsc::channel(MESSAGES_AHEAD);
    let request = shared.home.ask(ReceiverStream::new(outgoing), None);
    let response = match client.clone().stream(request).await {
        Ok(response) => response,
        Err(status) => match shared.home.refused(address, None, status) {
            Failed::Stranger(who) => return SessionEnd::stranger(who),
            Failed::Status(status) => {
                return SessionEnd::broken(format!("{address} refused: {}", status_text(&status)));
            }
        },
    };
    match shared.home.check(address, None, response.metadata()) {
        Ok(who) => {
            let strangers = shared.queue.lock().meet(who.worker.clone());
            for call in strangers {
                let cause = stranger(address, who.worker.as_ref(), &call);
                call.complete(Ended::NotSent(cause));
            }
        }
        Err(who) => return SessionEnd::stranger(who),
    }
    let mut incoming = response.into_inner();
    let receive = async {
        let mut answered = Vec::new();
        loop {
            let replies = match incoming.message().await {
                Ok(Some(replies)) => replies,
                Ok(None) => {
                    return SessionEnd {
                        cause: Cause::Broken(format!("{address} closed the stream").into()),
                        orderly: true,
                    };
                }
                Err(status) => {
                    return SessionEnd::broken(format!(
                        "connection to {address} broke: {}",
                        status_text(&status)
                    ));
                }
            };
            if let Some([_, answered]) = C::POINTS
                && let Err(error) = reach(answered, "").await
            {
                return SessionEnd::broken(error.to_string());
            }
            let items = match read_replies(&replies, is_get) {
                Ok(items) => items,
                Err(error) => {
                    return SessionEnd::broken(format!(
                        "{address} sent a damaged message: {error}"
                    ));
                }
            };
            {
                let mut pending = pending.lock();
                answered.extend(items.filter_map(|(id, reply)| Some((pending.take(id)?, reply))));
            }
            {
                let mut queue = shared.queue.lock();
                answered.iter().for_each(|(call, _)| queue.ended(call));
            }
            let hints: Option<Arc<[Hint]>> =
                (!replies.hints.is_empty()).then(|| replies.hints.into());
            for (call, reply) in answered.drain(..) {
                call.complete(Ended::Answered {
                    reply,
                    hints: hints.clone(),
                });
            }
        }
    };
    let sending = async {
        if let Err(error) = send(shared, pending, messages).await {
            return SessionEnd::broken(error.to_string());
        }
        // A worker that takes no more has answers under way still: only the end of those tells what came of the rest.
        tokio::time::sleep(shared.settings.keepalive).await;
        SessionEnd::broken(format!("connection to {address} broke"))
    };
    tokio::select! {
        end = receive => end,
        end = sending => end,
    }
}

/// Sends what waits until the transport takes nothing more.
async fn send<C: Call>(
    shared: &Shared<C>,
    pending: &Mutex<Pending<C>>,
    messages: mpsc::Sender<Batch>,
) -> io::Result<()> {
    let mut writer = BatchWriter::default();
    let mut calls = Vec::new();
    loop {
        shared.waiting.notified().await;
        // Lets those who are about to submit do so: a fuller message costs both ends less.
        tokio::task::yield_now().await;
        while !shared.queue.lock().calls.is_empty() {
            let Ok(permit) = messages.reserve().await else {
                return Ok(());
            };
            let now = Instant::now();
            shared
                .queue
                .lock()
                .take_message(&shared.settings, &mut calls);
            let Some((keyspace, hops)) = calls
                .first()
                .map(|call| (Arc::clone(call.keyspace()), call.hops()))
            else {
                break;
            };
            for call in calls.drain(..) {
                if call.deadline() <= now {
                    shared.queue.lock().ended(&call);
                    call.complete(Ended::NotSent(Cause::Deadline));
                    continue;
                }
                let mut pending = pending.lock();
                let id = pending.next_id(call.operation().verb);
                writer.push(id, call.operation());
                pending.insert(id, call);
            }
            if !writer.is_empty() {
                permit.send(writer.take(&keyspace, hops));
                if let Some([sent, _]) = C::POINTS {
                    reach(sent, "").await?;
                }
            }
        }
    }
}

/// Why `call` is not for the worker that was found at the address.
fn stranger<C: Call>(address: &str, found: Option<&Arc<str>>, call: &C) -> Cause {
    let (found, meant) = (
        found.map_or("", |name| name),
        call.meant().map_or("", |name| name),
    );
    Cause::Stranger(format!("{address} is worker {found}, not {meant}").into())
}

impl<C: Call> Queue<C> {
    /// Whether the worker at the other end is known to be another than `call` means.
    fn is_stranger(&self, call: &C) -> bool {
        match (&self.found, call.meant()) {
            (Some(found), Some(meant)) => found != meant,
            _ => false,
        }
    }

    /// Learns who is at the other end. The calls that are not for it leave the queue.
    fn meet(&mut self, found: Option<Arc<str>>) -> VecDeque<C> {
        self.found = found;
        let calls = std::mem::take(&mut self.calls);
        let (strangers, calls): (VecDeque<C>, _) =
            calls.into_iter().partition(|call| self.is_stranger(call));
        self.calls = calls;
        strangers.iter().for_each(|call| self.ended(call));
        strangers
    }

    /// Makes room: a call is about to be told how it ended.
    fn ended(&mut self, call: &C) {
        self.open.calls -= 1;
        self.open.bytes -= bytes_of(call);
    }

    /// Moves the calls of the next message to `message`: those that share keyspace and hops with the first, within the
    /// limits. Few at a time while few wait, so that both ends are busy; more as more wait, so that none starves.
    fn take_message(&mut self, settings: &ConnectionSettings, message: &mut Vec<C>) {
        let most = settings.batch_operations.max(self.calls.len() / 4);
        let Some(first) = self.calls.front() else {
            return;
        };
        let mut bytes = 0;
        let fits = |call: &&C| {
            bytes += bytes_of(*call);
            call.hops() == first.hops()
                && call.keyspace() == first.keyspace()
                && bytes <= settings.batch_limit
        };
        let count = self.calls.iter().take(most).take_while(fits).count().max(1);
        message.extend(self.calls.drain(..count));
    }
}

/// Ends calls whose deadline has passed, sent or not.
async fn watch_deadlines<C: Call>(shared: &Shared<C>, pending: &Mutex<Pending<C>>) {
    let mut tick = tokio::time::interval(DEADLINE_CHECK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let now = tick.tick().await;
        let late = {
            let mut queue = shared.queue.lock();
            let mut late = VecDeque::new();
            if queue.calls.iter().any(|call| call.deadline() <= now) {
                let calls = std::mem::take(&mut queue.calls);
                let (over, left): (VecDeque<C>, VecDeque<C>) =
                    calls.into_iter().partition(|call| call.deadline() <= now);
                (late, queue.calls) = (over, left);
                late.iter().for_each(|call| queue.ended(call));
            }
            late
        };
        for call in late {
            call.complete(Ended::NotSent(Cause::Deadline));
        }
        let unanswered = {
            let late = pending.lock().take_late(now);
            let mut queue = shared.queue.lock();
            late.iter().for_each(|call| queue.ended(call));
            late
        };
        for call in unanswered {
            call.complete(Ended::Unanswered(Cause::Deadline));
        }
    }
}

/// Calls that wait for their answer, by id: `generation << 32 | slot << 1 | whether it is a get`. A slot's generation
/// grows with each use, so that the answer to a call given up finds nobody.
struct Pending<C> {
    slots: Vec<Slot<C>>,
    free: Vec<u32>,
}

struct Slot<C> {
    generation: u32,
    call: Option<C>,
}

fn is_get(id: u64) -> bool {
    id & 1 == 1
}

impl<C: Call> Pending<C> {
    fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    fn next_id(&mut self, verb: Verb) -> u64 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                call: None,
            });
            self.slots.len() as u32 - 1
        });
        let generation = self.slots[slot as usize].generation;
        u64::from(generation) << 32 | u64::from(slot) << 1 | u64::from(verb == Verb::Get)
    }

    fn insert(&mut self, id: u64, call: C) {
        self.slots[(id as u32 >> 1) as usize].call = Some(call);
    }

    fn take(&mut self, id: u64) -> Option<C> {
        let index = id as u32 >> 1;
        let slot = self.slots.get_mut(index as usize)?;
        if slot.generation != (id >> 32) as u32 {
            return None;
        }
        let call = slot.call.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        Some(call)
    }

    fn take_late(&mut self, now: Instant) -> Vec<C> {
        let late = |slot: &Slot<C>| {
            slot.call
                .as_ref()
                .is_some_and(|call| call.deadline() <= now)
        };
        let ids = self.slots.iter().enumerate().filter(|(_, slot)| late(slot));
        let ids: Vec<u64> = ids
            .map(|(index, slot)| u64::from(slot.generation) << 32 | (index as u64) << 1)
            .collect();
        ids.into_iter().filter_map(|id| self.take(id)).collect()
    }

    fn into_calls(self) -> impl Iterator<Item = C> {
        self.slots.into_iter().filter_map(|slot| slot.call)
    }
}
