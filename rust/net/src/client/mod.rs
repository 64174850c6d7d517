//! The client: routing table, connections, batching, retries.

mod asker;
mod attempt;
mod life;
mod many;
mod runtime;
mod scan;
mod table;
mod under_way;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dstk_core::key::readable;
use dstk_core::node::Loss;
use dstk_core::routing::{Entry, RoutingTable};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use self::attempt::Attempt;
use self::table::Table;
use self::under_way::UnderWay;
use crate::error::ClientError;
use crate::identity::Home;
use crate::operation::{Condition, Operation};
use crate::peers::Peers;
use crate::settings::ClientSettings;

pub use self::asker::Asker;
pub use self::runtime::runtime;
pub use self::scan::{ScanRange, Scanned};

/// A row as it was read, or the version of what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The value of a get; empty for a write.
    pub value: Bytes,
    /// Version of the row read or written; of a delete, the sequence of the delete.
    pub version: u64,
}

/// How an operation ended: none when a get or delete found no row.
pub type OpResult = Result<Option<Row>, ClientError>;

/// A client of one keyspace. Clones share everything; it closes with the last of them.
///
/// Its work is done by two threads that all clients of the process share. They do not survive a fork: in the child,
/// every call ends as [`ClientError::Invalid`], and a new client has to be made there.
#[derive(Clone)]
pub struct Client {
    closer: Arc<Closer>,
}

struct Closer(Arc<Inner>);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.close(Duration::ZERO);
    }
}

/// Gives calls up when nobody waits for them any more.
struct Waiting(Arc<Asker>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

/// What a client has done so far.
#[derive(Debug, Default)]
struct Counters {
    operations: AtomicU64,
    retries: AtomicU64,
    hints: AtomicU64,
    outcome_unknown: AtomicU64,
}

struct Inner {
    keyspace: Arc<str>,
    settings: ClientSettings,
    seeds: Vec<Arc<str>>,
    table: Table,
    peers: Peers<Box<Attempt>>,
    runtime: Handle,
    process: u32,
    turns: Turns,
    closed: AtomicBool,
    /// Told when the client is closed: its stream of routes ends, and what waits to be tried again.
    closing: watch::Sender<bool>,
    under_way: UnderWay,
    counters: Counters,
}

impl Client {
    /// Connects to one of `addresses` (`host:port` of workers) and fetches the routing table of `keyspace`.
    ///
    /// Tries until the settings' timeout. Errors: `UnknownKeyspace`, `Unavailable`, `Invalid` for no address at all.
    pub async fn connect(
        addresses: &[String],
        keyspace: &str,
        settings: ClientSettings,
    ) -> Result<Self, ClientError> {
        if addresses.is_empty() {
            return Err(ClientError::Invalid(
                "no address to connect to: name at least one worker, host:port".into(),
            ));
        }
        let runtime = runtime()?;
        let home = Arc::new(Home::of_client(&settings.cluster));
        let peers = Peers::new(settings.connection.clone(), runtime.clone(), home);
        let seeds: Vec<Arc<str>> = addresses
            .iter()
            .map(|address| Arc::from(address.as_str()))
            .collect();
        let deadline = Instant::now() + settings.timeout;
        let (table, updates) = table::fetch(&peers, &seeds, keyspace, &settings, deadline).await?;
        let inner = Arc::new(Inner {
            keyspace: keyspace.into(),
            settings,
            seeds,
            table,
            peers,
            runtime: runtime.clone(),
            process: std::process::id(),
            turns: Turns::default(),
            closed: AtomicBool::new(false),
            closing: watch::Sender::new(false),
            under_way: UnderWay::default(),
            counters: Counters::default(),
        });
        let mut closing = inner.closing.subscribe();
        let kept = table::keep(Arc::downgrade(&inner), updates);
        runtime.spawn(async move {
            tokio::select! {
                _ = closing.wait_for(|closed| *closed) => {}
                () = kept => {}
            }
        });
        Ok(Self {
            closer: Arc::new(Closer(inner)),
        })
    }

    /// [`connect`](Self::connect) for callers without an async runtime: `completion` is called once, from a thread of
    /// the client's, or at once when that cannot be had.
    pub fn begin(
        addresses: Vec<String>,
        keyspace: String,
        settings: ClientSettings,
        completion: impl FnOnce(Result<Self, ClientError>) + Send + 'static,
    ) {
        match runtime() {
            Ok(runtime) => {
                let connecting =
                    async move { completion(Self::connect(&addresses, &keyspace, settings).await) };
                runtime.spawn(connecting);
            }
            Err(error) => completion(Err(error)),
        }
    }

    fn inner(&self) -> &Arc<Inner> {
        &self.closer.0
    }

    /// Length of the keyspace's keys, in bytes.
    pub fn key_length(&self) -> usize {
        self.inner().table.key_length()
    }

    /// The bounds of this client.
    pub fn settings(&self) -> &ClientSettings {
        &self.inner().settings
    }

    /// Starts an operation; `completion` is called once with how it ended, from a thread of the client's, or at once
    /// when the operation itself is wrong. It must not block. No `timeout`: the settings'. When `asker` gives it up
    /// before it has ended, nothing that it is told is of any meaning.
    pub fn submit(
        &self,
        operation: Operation,
        timeout: Option<Duration>,
        asker: Arc<Asker>,
        completion: impl FnOnce(OpResult) + Send + 'static,
    ) {
        let inner = self.inner();
        match inner.check(&operation) {
            Ok(()) => Attempt::start(
                inner,
                operation,
                inner.deadline(timeout),
                asker,
                Box::new(completion),
            ),
            Err(error) => completion(Err(error)),
        }
    }

    /// Starts many operations that share one `completion`, called with how each ended, in their order.
    pub fn submit_many(
        &self,
        operations: Vec<Operation>,
        timeout: Option<Duration>,
        asker: Arc<Asker>,
        completion: impl FnOnce(Vec<OpResult>) + Send + 'static,
    ) {
        let inner = self.inner();
        many::start(
            inner,
            operations,
            inner.deadline(timeout),
            asker,
            Box::new(completion),
        );
    }

    /// Starts a scan over as many partitions as it takes.
    pub fn submit_scan(
        &self,
        range: ScanRange,
        timeout: Option<Duration>,
        asker: Arc<Asker>,
        completion: impl FnOnce(Result<Scanned, ClientError>) + Send + 'static,
    ) {
        let inner = Arc::clone(self.inner());
        if let Err(error) = inner.alive() {
            return completion(Err(error));
        }
        let deadline = inner.deadline(timeout);
        inner.under_way.begin();
        self.inner().runtime.spawn(async move {
            let scanned = tokio::select! {
                scanned = scan::run(&inner, range, deadline) => scanned,
                () = inner.until_closed() => Err(ClientError::Unavailable(
                    "the client was closed before the scan had ended".into(),
                )),
                () = asker.given_up() => Err(ClientError::Unavailable("the scan was given up".into())),
            };
            completion(scanned);
            inner.under_way.end();
        });
    }

    /// Reads a row.
    pub async fn get(&self, key: impl Into<Bytes>) -> OpResult {
        self.run(Operation::get(key)).await
    }

    /// Writes a row; its version.
    pub async fn put(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        condition: Condition,
    ) -> Result<u64, ClientError> {
        let row = self.run(Operation::put(key, value, condition)).await?;
        Ok(row.map_or(0, |row| row.version))
    }

    /// Removes a row; the sequence of that, none when there was no row.
    pub async fn delete(
        &self,
        key: impl Into<Bytes>,
        condition: Condition,
    ) -> Result<Option<u64>, ClientError> {
        Ok(self
            .run(Operation::delete(key, condition))
            .await?
            .map(|row| row.version))
    }

    /// Reads rows of a range.
    pub async fn scan(&self, range: ScanRange) -> Result<Scanned, ClientError> {
        let (ended, end) = oneshot::channel();
        let waiting = Waiting(Arc::default());
        self.submit_scan(range, None, Arc::clone(&waiting.0), |result| {
            _ = ended.send(result)
        });
        end.await.unwrap_or_else(|_| Err(lost()))
    }

    /// An operation that is given up when nobody waits for it any more.
    async fn run(&self, operation: Operation) -> OpResult {
        let (ended, end) = oneshot::channel();
        let waiting = Waiting(Arc::default());
        self.submit(operation, None, Arc::clone(&waiting.0), |result| {
            _ = ended.send(result)
        });
        end.await.unwrap_or_else(|_| Err(lost()))
    }

    /// The routing table as it is now.
    pub fn routes(&self) -> Arc<RoutingTable> {
        self.inner().table.now()
    }

    /// Ranges whose rows were lost, and nobody has accepted that, in the order of keys.
    pub fn losses(&self) -> Arc<Vec<Loss>> {
        self.inner().table.losses()
    }

    /// Counters since the start, by name; and what is under way: calls, those of them that were sent, and the bytes of
    /// keys and values that connections hold for them.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let open = self.inner().peers.under_way();
        let counters = &self.inner().counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        vec![
            ("operations", read(&counters.operations)),
            ("retries", read(&counters.retries)),
            ("hints", read(&counters.hints)),
            ("outcome_unknown", read(&counters.outcome_unknown)),
            ("under_way", self.inner().under_way.count() as u64),
            ("sent", open.sent as u64),
            ("open_bytes", open.bytes as u64),
            ("connections", self.inner().peers.len() as u64),
            ("routes", self.inner().table.now().len() as u64),
            ("routes_version", self.inner().table.now().version()),
        ]
    }

    /// Ends it: later calls are refused, those that were not sent end as unavailable, and those that were have the
    /// settings' `close_timeout` to be answered. `completion` is called once when the last of them has ended.
    pub fn close(&self, completion: impl FnOnce() + Send + 'static) {
        let inner = Arc::clone(self.inner());
        inner.close(inner.settings.close_timeout);
        if inner.process != std::process::id() {
            return completion(); // What is under way is the parent's.
        }
        self.inner().runtime.spawn(async move {
            inner.under_way.none().await;
            completion();
        });
    }

    /// Whether it takes calls: not once it is closed, nor in a fork.
    pub fn alive(&self) -> Result<(), ClientError> {
        self.inner().alive()
    }
}

/// A completion was dropped, which happens when the process ends.
fn lost() -> ClientError {
    ClientError::OutcomeUnknown("the client's threads have ended".into())
}

impl Inner {
    fn close(&self, answers: Duration) {
        self.closed.store(true, Ordering::Release);
        if self.process == std::process::id() {
            self.peers.close(Instant::now() + answers);
            self.closing.send_replace(true);
        }
    }

    /// Ends when the client is closed.
    async fn until_closed(&self) {
        // Fails when the sender is gone, which is here.
        let _ = self.closing.subscribe().wait_for(|closed| *closed).await;
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn deadline(&self, timeout: Option<Duration>) -> Instant {
        Instant::now() + timeout.unwrap_or(self.settings.timeout)
    }

    fn alive(&self) -> Result<(), ClientError> {
        if self.is_closed() {
            return Err(ClientError::Invalid(
                "this client is closed: connect anew".into(),
            ));
        }
        let process = std::process::id();
        if process != self.process {
            return Err(ClientError::Invalid(format!(
                "this client was made in process {} and this is its fork {process}, which has none of its threads: \
                 connect anew here",
                self.process,
            )));
        }
        Ok(())
    }

    fn check(&self, operation: &Operation) -> Result<(), ClientError> {
        self.alive()?;
        let (found, expected) = (operation.key.len(), self.table.key_length());
        if found != expected {
            return Err(ClientError::KeyLength(format!(
                "key {} is {found} bytes; keyspace {:?} takes {expected} (dstk.keys.text pads)",
                readable(&operation.key),
                &*self.keyspace,
            )));
        }
        let (bytes, limit) = (operation.value.len(), self.settings.connection.value_limit);
        if bytes > limit {
            return Err(ClientError::TooLarge(format!(
                "value of {} is {bytes} bytes; at most {limit} are taken: split it up",
                readable(&operation.key),
            )));
        }
        Ok(())
    }

    /// Whether somebody may serve `key`; what was lost, where nobody does before that is accepted.
    fn served(&self, key: &[u8]) -> Result<(), ClientError> {
        let Some(loss) = self.table.held_loss(key) else {
            return Ok(());
        };
        Err(ClientError::DataLost(format!(
            "the rows of partition {} were lost ({}), among them key {}; nothing of it is served before somebody accepts \
             that: `dstk accept-loss {}`",
            loss.partition,
            loss.reason,
            readable(key),
            loss.partition,
        )))
    }

    /// Where to ask for `key`, and who is meant there: its owner, or on every second try any other worker, who may know
    /// better.
    fn address_for(&self, key: &[u8], tries: u32) -> (Arc<str>, Option<Arc<str>>) {
        let table = self.table.now();
        let owner = |entry: &Arc<Entry>| {
            let address = table.address(&entry.owner)?;
            Some((Arc::clone(address), Some(Arc::clone(&entry.owner))))
        };
        match table.lookup(key).and_then(owner) {
            Some(owner) if tries.is_multiple_of(2) => owner,
            _ => (self.any_address(&table, tries / 2), None),
        }
    }

    /// An address of some worker, another one with each call, for whoever has asked `round` others in vain.
    fn any_address(&self, table: &RoutingTable, round: u32) -> Arc<str> {
        self.turns.choose(table.addresses(), &self.seeds, round)
    }

    /// The wait before try number `tries` (1: the first repetition): doubles up to the limit, of which a random half.
    fn pause(&self, tries: u32) -> Duration {
        backoff(
            self.settings.backoff,
            self.settings.backoff_limit,
            tries,
            fastrand::f64(),
        )
    }
}

/// Whose turn it is to be asked. One count for each list: with a count for both, one who asks alone would meet every
/// second address of each, and never the others.
#[derive(Default)]
struct Turns {
    known: AtomicUsize,
    seeds: AtomicUsize,
}

impl Turns {
    /// One of the addresses that are known, in every second round one of the first: the workers that are known may all
    /// be gone, however many, and a first address that is a name stands for those that are there now.
    fn choose(
        &self,
        known: &BTreeMap<Arc<str>, Arc<str>>,
        seeds: &[Arc<str>],
        round: u32,
    ) -> Arc<str> {
        let next = |turn: &AtomicUsize, of: usize| turn.fetch_add(1, Ordering::Relaxed) % of;
        if round.is_multiple_of(2) && !known.is_empty() {
            let turn = next(&self.known, known.len());
            if let Some(address) = known.values().nth(turn) {
                return Arc::clone(address);
            }
        }
        Arc::clone(&seeds[next(&self.seeds, seeds.len())])
    }
}

/// `first` × 2^(tries - 1), at most `limit`; between half and all of it as `random` in 0..1 says.
fn backoff(first: Duration, limit: Duration, tries: u32, random: f64) -> Duration {
    let doubled = first
        .saturating_mul(1 << tries.saturating_sub(1).min(20))
        .min(limit);
    doubled.mul_f64(0.5 + random / 2.0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn addresses(host: &str, count: usize) -> Vec<Arc<str>> {
        let address = |number| format!("{host}{number}:7070").into();
        (0..count).map(address).collect()
    }

    #[test]
    fn a_first_address_is_tried_every_second_time_however_many_others_are_known() {
        let known: BTreeMap<_, _> = addresses("w", 50)
            .into_iter()
            .map(|address| (Arc::clone(&address), address))
            .collect();
        let seeds = addresses("workers", 1);
        let turns = Turns::default();
        for _ in 0..200 {
            assert!(known.contains_key(&turns.choose(&known, &seeds, 0)));
            assert_eq!(turns.choose(&known, &seeds, 1), seeds[0]);
            assert_eq!(turns.choose(&BTreeMap::new(), &seeds, 0), seeds[0]);
        }
    }

    /// However the rounds of one who asks alone follow each other: one by one, or each twice.
    #[test]
    fn who_asks_alone_meets_every_address_of_both_kinds() {
        for repeats in [1, 2] {
            for (known, seeds) in [(1, 2), (2, 2), (4, 3), (3, 4)] {
                let (known, seeds) = (addresses("w", known), addresses("workers", seeds));
                let table = known.iter().cloned().zip(known.iter().cloned()).collect();
                let turns = Turns::default();
                let rounds = 0..2 * known.len().max(seeds.len()) as u32;
                let asked: BTreeSet<_> = rounds
                    .flat_map(|round| [round].repeat(repeats))
                    .map(|round| turns.choose(&table, &seeds, round))
                    .collect();
                assert_eq!(asked, known.into_iter().chain(seeds).collect());
            }
        }
    }

    #[test]
    fn the_wait_doubles_up_to_its_limit_and_is_spread() {
        let wait = |tries, random| {
            backoff(
                Duration::from_millis(2),
                Duration::from_millis(200),
                tries,
                random,
            )
        };
        assert_eq!(wait(1, 1.0), Duration::from_millis(2));
        assert_eq!(wait(1, 0.0), Duration::from_millis(1));
        assert_eq!(wait(4, 1.0), Duration::from_millis(16));
        assert_eq!(wait(8, 1.0), Duration::from_millis(200));
        assert_eq!(wait(u32::MAX, 0.0), Duration::from_millis(100));
    }
}
