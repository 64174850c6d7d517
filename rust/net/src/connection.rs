//! One bidirectional stream to a worker: what waits leaves as one message, answers come back by id.

mod call;
mod deadlines;
mod pending;
mod queue;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

use self::deadlines::{useless, watch_deadlines};
use self::pending::{Pending, is_get};
use crate::codec::{BatchWriter, read_replies};
use crate::faults::reach;
use crate::identity::{Failed, Home};
use crate::settings::ConnectionSettings;
use crate::wire::data_client::DataClient;
use crate::wire::{Batch, Hint};

pub use self::call::{Call, CallResult, Cause};

/// Messages that may wait between the stream and the transport; what is in them counts as sent.
const MESSAGES_AHEAD: usize = 2;

/// HTTP/2 windows of data connections, in bytes. Replication has larger ones of its own.
pub(crate) const STREAM_WINDOW: u32 = 2 << 20;
pub(crate) const CONNECTION_WINDOW: u32 = 4 << 20;

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
    closing: watch::Sender<Closing>,
    /// Told when a connection that takes no more calls has none left.
    idle: Notify,
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
pub struct Open {
    /// Submitted and not ended yet.
    pub calls: usize,
    /// Those of them that were sent.
    pub sent: usize,
    /// Keys and values that are held for them.
    pub bytes: usize,
}

impl std::ops::AddAssign for Open {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.sent += other.sent;
        self.bytes += other.bytes;
    }
}

/// Whether somebody wants the connection to end.
#[derive(Clone, Copy)]
enum Closing {
    No,
    /// Nobody has it any more.
    Dropped,
    /// It takes no more calls, and what was sent may be answered for so long.
    Until(Instant),
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
        self.shared.close(Closing::Dropped);
    }
}

impl<C: Call> Shared<C> {
    fn new(
        address: &str,
        settings: &ConnectionSettings,
        home: &Arc<Home>,
        closed: Option<Cause>,
        link: Link,
    ) -> Self {
        Self {
            address: address.into(),
            home: Arc::clone(home),
            settings: settings.clone(),
            queue: Mutex::new(Queue {
                calls: VecDeque::new(),
                open: Open::default(),
                found: None,
                closed,
            }),
            waiting: Notify::new(),
            closing: watch::Sender::new(Closing::No),
            idle: Notify::new(),
            link: watch::Sender::new(link),
        }
    }

    /// The first wish counts.
    fn close(&self, how: Closing) {
        self.closing.send_if_modified(|closing| {
            let first = matches!(closing, Closing::No);
            if first {
                *closing = how;
            }
            first
        });
    }

    /// Makes room: calls are about to be told how they ended.
    fn ended<'a>(&self, calls: impl Iterator<Item = &'a C>, sent: bool) {
        let mut queue = self.queue.lock();
        calls.for_each(|call| queue.open.remove(call, sent));
        if queue.closed.is_some() && queue.open.calls == 0 {
            self.idle.notify_one();
        }
    }
}

impl Open {
    fn remove<C: Call>(&mut self, call: &C, sent: bool) {
        self.calls -= 1;
        self.sent -= usize::from(sent);
        self.bytes -= bytes_of(call);
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
        let shared = Shared::new(address, settings, home, None, Link::Connecting);
        let shared = Arc::new(shared);
        runtime.spawn(drive(Arc::clone(&shared)));
        Self {
            handle: Arc::new(ConnectionHandle { shared }),
        }
    }

    /// A connection that is closed from the start: every call ends as not sent, for `cause`.
    pub fn closed(
        address: &str,
        settings: &ConnectionSettings,
        home: &Arc<Home>,
        cause: Cause,
    ) -> Self {
        let link = Link::Down(cause.clone());
        let shared = Arc::new(Shared::new(address, settings, home, Some(cause), link));
        Self {
            handle: Arc::new(ConnectionHandle { shared }),
        }
    }

    /// Ends it: calls that were not sent end as [`Cause::Closed`], as do later ones; what was sent may be answered
    /// `until` then.
    pub fn close(&self, until: Instant) {
        self.handle.shared.close(Closing::Until(until));
    }

    /// What is under way on it.
    pub fn under_way(&self) -> Open {
        self.handle.shared.queue.lock().open
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
        call.complete(CallResult::NotSent(cause));
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
        end = watch_deadlines(&shared, &pending) => end,
        end = until_closed(&shared, &pending) => end,
    };
    let calls = {
        let mut queue = shared.queue.lock();
        queue.closed = Some(end.cause.clone());
        queue.open = Open::default();
        std::mem::take(&mut queue.calls)
    };
    shared.link.send_replace(Link::Down(end.cause.clone()));
    for call in pending.into_inner().into_calls() {
        let cause = end.cause.clone();
        call.complete(if end.orderly {
            CallResult::NotSent(cause)
        } else {
            CallResult::Unanswered(cause)
        });
    }
    for call in calls {
        call.complete(CallResult::NotSent(end.cause.clone()));
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

/// Waits until somebody wants the connection to end; then ends what was not sent, and waits for what was, if it may.
async fn until_closed<C: Call>(shared: &Shared<C>, pending: &Mutex<Pending<C>>) -> SessionEnd {
    let mut closing = shared.closing.subscribe();
    let closing = closing
        .wait_for(|closing| !matches!(closing, Closing::No))
        .await
        .map_or(Closing::Dropped, |closing| *closing);
    let Closing::Until(until) = closing else {
        return SessionEnd::broken("the connection was closed");
    };
    let not_sent = {
        let mut queue = shared.queue.lock();
        queue.closed = Some(Cause::Closed);
        std::mem::take(&mut queue.calls)
    };
    shared.ended(not_sent.iter(), false);
    for call in not_sent {
        call.complete(CallResult::NotSent(Cause::Closed));
    }
    let_go(shared, pending);
    let answered = async {
        while shared.queue.lock().open.calls > 0 {
            shared.idle.notified().await;
        }
    };
    // What is not answered by then is told so when the connection ends.
    let _ = tokio::time::timeout_at(until, answered).await;
    SessionEnd {
        cause: Cause::Closed,
        orderly: false,
    }
}

/// Ends calls that were sent and given up: a connection that ends does not wait for those.
fn let_go<C: Call>(shared: &Shared<C>, pending: &Mutex<Pending<C>>) {
    let given_up = pending.lock().take_where(C::is_given_up);
    shared.ended(given_up.iter(), true);
    for call in given_up {
        call.complete(CallResult::Unanswered(Cause::GivenUp));
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
            shared.ended(strangers.iter(), false);
            for call in strangers {
                let cause = stranger(address, who.worker.as_ref(), &call);
                call.complete(CallResult::NotSent(cause));
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
                        orderly: true,
                        ..SessionEnd::broken(format!("{address} closed the stream"))
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
            shared.ended(answered.iter().map(|(call, _)| call), true);
            let hints: Option<Arc<[Hint]>> =
                (!replies.hints.is_empty()).then(|| replies.hints.into());
            for (call, reply) in answered.drain(..) {
                call.complete(CallResult::Answered {
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
            let mut sent = 0;
            for call in calls.drain(..) {
                if let Some(cause) = useless(&call, now) {
                    shared.ended(std::iter::once(&call), false);
                    call.complete(CallResult::NotSent(cause));
                    continue;
                }
                sent += 1;
                let mut pending = pending.lock();
                let id = pending.next_id(call.operation().verb);
                writer.push(id, call.operation());
                pending.insert(id, call);
            }
            shared.queue.lock().open.sent += sent;
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
