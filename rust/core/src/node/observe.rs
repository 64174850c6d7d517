//! What a node tells of itself: states, loads, counters.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Node;
use super::keyspace_store::{Holding, KeyspaceStore};
use super::refusal::Refusal;
use super::slot::{Partition, PartitionSlot};
use crate::partition::{Command, Counts, Nanos, PartitionState, ROW_BYTES, Role, Verdict};
use crate::sync::atomic::Ordering;
use crate::tree::{Value, drop_in_background};

/// Counters and gauges by name.
pub type Counters = Vec<(&'static str, u64)>;

/// What a partition costs.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionLoad {
    /// Name of the keyspace.
    pub keyspace: Arc<str>,
    /// Name of the partition.
    pub partition: Arc<str>,
    /// Its epoch.
    pub epoch: u64,
    /// Number of rows.
    pub rows: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// What its rows take, in bytes: keys, values and what is around them.
    pub size: u64,
    /// Reads and writes a second, exponentially weighted.
    pub operations_per_second: f64,
    /// Bytes of keys and values read and written a second, exponentially weighted.
    pub bytes_per_second: f64,
    /// The key that halves the rows; none below two rows.
    pub median_key: Option<Box<[u8]>>,
    /// What this worker is to it.
    pub role: Role,
    /// Length of its keys, in bytes.
    pub key_length: usize,
    /// Whether its changes are written down.
    pub durable: bool,
    /// Sequence of the last write that a restart cannot take back; 0: not known just now.
    pub sequence: u64,
}

/// What is held of a key, whoever serves it.
#[derive(Debug, Clone)]
pub struct Held {
    /// Name of the partition.
    pub partition: Arc<str>,
    /// What this worker is to it.
    pub role: Role,
    /// Its epoch.
    pub epoch: u64,
    /// Whether a write would be carried out here: primary, not fenced, and its lease holds.
    pub accepts: bool,
    /// Of a copy: whether it has had all that its source had.
    pub caught_up: bool,
    /// Version and value, if there is a row.
    pub row: Option<(u64, Value)>,
}

impl KeyspaceStore {
    /// What is held of `key`, served or not; nothing where no partition has it.
    pub fn peek(&self, key: &[u8], now: Nanos) -> Option<Held> {
        let slots = self.slots.load();
        let (_, slot) = slots.find(key)?;
        let held = slot.partition.lock();
        let stream = held.state.stream();
        Some(Held {
            partition: Arc::clone(&slot.name),
            role: held.role(),
            epoch: held.epoch,
            accepts: held.state.serves() && self.is_leased(now),
            caught_up: stream.is_some_and(|stream| stream.progress.caught_up),
            row: held
                .tree
                .get(key)
                .map(|row| (row.version, Arc::clone(row.value))),
        })
    }
}

impl Node {
    /// The partitions of these names, or all, by keyspace in the order of keys, once what is said is on disk.
    ///
    /// # Errors
    /// `Limit` when it never will be: this life of the worker is over.
    pub fn states(
        &self,
        partitions: Option<&[&str]>,
        now: Nanos,
    ) -> Result<Vec<PartitionState>, Refusal> {
        let mut settled = 0;
        let mut state = |slot: &Arc<PartitionSlot>| {
            let held = slot.partition.lock();
            settled = held.settled_at().max(settled);
            (held.role() != Role::Disconnected).then(|| slot.state(&held, now))
        };
        let states = match partitions {
            None => self.slots().iter().filter_map(state).collect(),
            Some(names) => self.states_of(names, &mut state),
        };
        self.context.settle(settled)?;
        Ok(states)
    }

    fn states_of(
        &self,
        names: &[&str],
        mut state: impl FnMut(&Arc<PartitionSlot>) -> Option<PartitionState>,
    ) -> Vec<PartitionState> {
        let mut states = Vec::with_capacity(names.len());
        for store in self.stores.load().values() {
            let holding = store.holding.lock();
            states.extend(
                names
                    .iter()
                    .filter_map(|name| holding.names.get(*name))
                    .filter_map(&mut state),
            );
        }
        states
    }

    /// What every partition costs.
    pub fn loads(&self, now: Nanos) -> Vec<PartitionLoad> {
        let half_life = self.context.settings.load_half_life_seconds;
        let load = |slot: &Arc<PartitionSlot>| {
            let mut held = slot.partition.lock();
            let rates = held.load.rates(now, half_life);
            let total = held.tree.total();
            let sequence = held.sequence;
            let sequence = match &mut held.journal {
                Some(journal) => journal.durable_sequence(sequence),
                None => sequence,
            };
            let halves = (total.rows >= 2).then(|| held.tree.key_at(total.rows / 2));
            (held.role() != Role::Disconnected).then(|| PartitionLoad {
                keyspace: Arc::clone(&slot.keyspace),
                partition: Arc::clone(&slot.name),
                epoch: held.epoch,
                rows: total.rows,
                bytes: total.bytes,
                size: held.share.bytes(),
                operations_per_second: rates.operations,
                bytes_per_second: rates.bytes,
                median_key: halves.flatten(),
                role: held.role(),
                key_length: slot.bounds.key_length(),
                durable: held.journal.is_some(),
                sequence,
            })
        };
        self.slots().iter().filter_map(load).collect()
    }

    /// Bytes that rows may take (0: no bound), take, copies included, and that copies on their way are still to take.
    pub fn room(&self) -> (u64, u64, u64) {
        let room = &self.context.room;
        (room.limit(), room.used(), room.promised())
    }

    /// Ends the largest copy that is on its way when a put was refused for want of room: the rows that are served come
    /// first. To be called several times a second. Whether there was one.
    pub fn make_room(&self) -> bool {
        let room = &self.context.room;
        if !room.was_short() && room.excess().is_none() {
            return false;
        }
        let bytes = |slot: &Arc<PartitionSlot>| copied(&slot.partition.lock());
        let Some(slot) = self.slots().into_iter().max_by_key(bytes) else {
            return false;
        };
        let mut held = slot.partition.lock();
        let bytes = copied(&held);
        if bytes == 0 {
            return false;
        }
        let why = format!(
            "rows that are served have taken the room of this copy of {bytes} bytes: {}",
            room.refusal(ROW_BYTES)
        );
        let changes = held.apply(Command::YieldRoom { why: &why }, 0);
        let rows = changes.map(|changes| self.context.carry_out(&slot, &mut held, changes).rows);
        drop(held);
        rows.into_iter().flatten().for_each(drop_in_background);
        true
    }

    /// Gives [`Verdict::Unavailable`] to requests held longer than `hold_seconds`; to be called several times a
    /// second. How many they were.
    pub fn expire_held(&self, now: Nanos) -> usize {
        let Some(latest) = now.checked_sub(self.context.hold_nanos()) else {
            return 0;
        };
        if self.context.held.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let seconds = self.context.settings.hold_seconds;
        let reason =
            format!("held for {seconds} s while its partition was about to move: try again");
        let expire = |slot: &Arc<PartitionSlot>| slot.partition.lock().expire_held(latest, &reason);
        let expired = self.slots().iter().map(expire).sum();
        self.context.resumed(expired);
        expired
    }

    /// Gives [`Verdict::Unavailable`] to all held requests: the worker stops. How many they were.
    pub fn refuse_held(&self, reason: &str) -> usize {
        let verdict = Verdict::Unavailable(reason.into());
        let refuse = |slot: &Arc<PartitionSlot>| slot.partition.lock().resume_held(&verdict);
        let refused = self.slots().iter().map(refuse).sum();
        self.context.resumed(refused);
        refused
    }

    /// Monotonic counters (`…_total`) and gauges by name, for /metrics; those of partitions over all keyspaces.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut tally = Tally::default();
        for store in self.stores.load().values() {
            tally.add(&store.holding.lock());
        }
        let mut counters = tally.counters();
        counters.extend([
            ("held", self.context.held.load(Ordering::Relaxed) as u64),
            (
                "log_readers",
                self.context.readers.load(Ordering::Relaxed) as u64,
            ),
            ("splits_total", self.splits.load(Ordering::Relaxed)),
            ("merges_total", self.merges.load(Ordering::Relaxed)),
            ("routes_version", self.routes_version()),
            ("memory_full", u64::from(self.context.room.is_full())),
            ("memory_limit_bytes", self.context.room.limit()),
            ("memory_used_bytes", self.context.room.used()),
            ("memory_promised_bytes", self.context.room.promised()),
            ("lease_lapses_total", self.lapses()),
        ]);
        counters.extend(self.disk_counters());
        counters
    }

    /// Of [`Node::counters`] those of partitions, each keyspace's own.
    pub fn keyspace_counters(&self) -> Vec<(Arc<str>, Counters)> {
        let of_shard = |(keyspace, store): (&Arc<str>, &Arc<KeyspaceStore>)| {
            let mut tally = Tally::default();
            tally.add(&store.holding.lock());
            (Arc::clone(keyspace), tally.counters())
        };
        self.stores.load().iter().map(of_shard).collect()
    }

    fn slots(&self) -> Vec<Arc<PartitionSlot>> {
        let stores = self.stores.load();
        let slots = |slots: &crate::index::RangeMap<Arc<PartitionSlot>>| -> Vec<_> {
            slots.iter().map(|piece| Arc::clone(piece.value)).collect()
        };
        stores
            .values()
            .flat_map(|store| slots(&store.slots.load()))
            .collect()
    }
}

/// What partitions hold and have done, summed up.
#[derive(Default)]
struct Tally {
    counts: Counts,
    roles: BTreeMap<u8, u64>,
    rows: u64,
    bytes: u64,
    log_memory: u64,
    log_disk: u64,
    lag: u64,
}

impl Tally {
    /// To be called with the lock, so that nothing is counted twice or not at all while it is replaced.
    fn add(&mut self, holding: &Holding) {
        self.counts += holding.retired;
        for slot in holding.names.values() {
            let held = slot.partition.lock();
            self.counts += held.load.counts;
            *self.roles.entry(held.role() as u8).or_default() += 1;
            let total = held.tree.total();
            self.rows += total.rows;
            self.bytes += total.bytes;
            let (memory, disk) = held.log.bytes();
            self.log_memory += memory;
            self.log_disk += disk;
            self.lag += held
                .log
                .acknowledged()
                .map_or(0, |acknowledged| held.sequence.saturating_sub(acknowledged));
        }
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let counts = &self.counts;
        let role = |role: Role| self.roles.get(&(role as u8)).copied().unwrap_or(0);
        vec![
            ("partitions_primary", role(Role::Primary)),
            ("partitions_loading", role(Role::Loading)),
            ("partitions_following", role(Role::Following)),
            ("partitions_proxy", role(Role::Proxy)),
            ("rows", self.rows),
            ("row_bytes", self.bytes),
            ("gets_total", counts.gets),
            ("puts_total", counts.puts),
            ("deletes_total", counts.deletes),
            ("scans_total", counts.scans),
            ("version_mismatches_total", counts.mismatches),
            ("read_bytes_total", counts.bytes_read),
            ("written_bytes_total", counts.bytes_written),
            ("forwards_total", counts.forwarded),
            ("held_total", counts.held),
            ("held_refused_total", counts.held_refused),
            ("held_expired_total", counts.held_expired),
            ("log_applied_total", counts.log_applied),
            ("log_memory_bytes", self.log_memory),
            ("log_spilled_bytes", self.log_disk),
            ("log_unacknowledged", self.lag),
            ("disk_refused_total", counts.disk_refused),
        ]
    }
}

/// What a copy takes that may be ended: not one whose source is fenced, as it may be the owner in a moment.
fn copied(held: &Partition) -> u64 {
    let ends = held
        .state
        .stream()
        .is_some_and(|stream| !stream.source_fenced && !stream.progress.no_room);
    if ends { held.share.bytes() } else { 0 }
}
