//! The routing table and what changes it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::entry::Entry;
use super::names::{Extent, Names};
use super::overlay::overlay;
use crate::index::{Edit, IndexError, Piece, RangeMap};

/// The routing table of one keyspace.
///
/// A partition's entry has the keys of its range that no partition of a higher epoch claims. Of two partitions that
/// claim a key in the same epoch, the one that shows stays. A partition counts in its newest epoch only: an older entry
/// of it changes nothing, a newer one takes the place of all it showed; more entries of one epoch add up, the later
/// one having the keys that both name. What is cut off an entry does not come back when that which cut it is withdrawn;
/// apply the entry again for that.
///
/// A clone is a snapshot: a few reference counts, and never changed by what is applied to the other. A change to a
/// table of n entries copies about 500 + n / 250 pointers.
#[derive(Debug, Clone)]
pub struct RoutingTable {
    map: RangeMap<Arc<Entry>>,
    names: Names,
    workers: Arc<BTreeMap<Arc<str>, Arc<str>>>,
    version: u64,
}

/// One step from an older routing table to a newer one; see [`RoutingTable::diff`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// [`RoutingTable::withdraw`].
    Withdraw {
        /// Name of the partition.
        partition: Arc<str>,
        /// The epoch it showed in.
        epoch: u64,
    },
    /// [`RoutingTable::apply`].
    Apply(Arc<Entry>),
    /// [`RoutingTable::set_worker`].
    SetWorker {
        /// Name of the worker.
        name: Arc<str>,
        /// Where its data plane listens.
        address: Arc<str>,
    },
    /// [`RoutingTable::remove_worker`].
    RemoveWorker {
        /// Name of the worker.
        name: Arc<str>,
    },
}

impl RoutingTable {
    /// An empty table over keys of `key_length` bytes, at version 0.
    pub fn new(key_length: usize) -> Result<Self, IndexError> {
        let map = RangeMap::new(key_length)?;
        Ok(Self {
            map,
            names: Names::default(),
            workers: Arc::default(),
            version: 0,
        })
    }

    /// Lays `entry` over the table; whether that changed anything.
    ///
    /// Bounds shorter than the key length are padded. Errors if a bound is too long or the range holds no key.
    pub fn apply(&mut self, entry: Entry) -> Result<bool, IndexError> {
        let entry = Arc::new(entry.padded(self.map.key_length())?);
        let known = self.names.get(&entry.partition).cloned();
        if known
            .as_ref()
            .is_some_and(|known| known.epoch > entry.epoch)
        {
            return Ok(false);
        }
        let same_epoch = known.as_ref().filter(|known| known.epoch == entry.epoch);
        let before = self.map.clone();
        let (mut removed, mut added) = (Vec::new(), Vec::new());
        if same_epoch.is_none() {
            removed.extend(
                known
                    .iter()
                    .flat_map(|known| pieces_of(&before, &entry.partition, known)),
            );
        }
        let mut from = Some(&*entry.start);
        for piece in before.range(before.overlapping(&entry.start, entry.end.as_deref())) {
            let old = piece.value;
            let own = old.partition == entry.partition;
            if old.epoch > entry.epoch || (old.epoch == entry.epoch && !own) {
                if let Some(start) = from.filter(|start| *start < piece.start) {
                    added.push(entry.cut(start, Some(piece.start)));
                }
                from = piece.end;
                continue;
            }
            if own && old.epoch < entry.epoch {
                continue;
            }
            removed.push(old);
            if *old.start < *entry.start {
                added.push(old.cut(&old.start, Some(&entry.start)));
            }
            if let Some(end) = entry
                .end
                .as_deref()
                .filter(|end| old.end.as_deref().is_none_or(|old| old > *end))
            {
                added.push(old.cut(end, old.end.as_deref()));
            }
        }
        if let Some(start) =
            from.filter(|start| entry.end.as_deref().is_none_or(|end| *start < end))
        {
            added.push(entry.cut(start, entry.end.as_deref()));
        }
        added.sort_by(|left, right| left.start.cmp(&right.start));
        removed.sort_by(|left, right| left.start.cmp(&right.start));
        if removed.iter().copied().eq(&added) {
            return Ok(false);
        }
        let gone = removed.iter().map(|old| Edit::Remove(&old.start));
        self.map = before.edit(
            gone.chain(added.iter().map(|new| Edit::Add(new.piece())))
                .collect(),
        )?;
        self.recount(&entry, same_epoch.map(Arc::as_ref), &removed, &added);
        self.version += 1;
        Ok(true)
    }

    /// Takes out what `partition` shows at `epoch` or an older one; whether that was anything.
    pub fn withdraw(&mut self, partition: &str, epoch: u64) -> bool {
        let Some(known) = self
            .names
            .get(partition)
            .filter(|known| known.epoch <= epoch)
            .cloned()
        else {
            return false;
        };
        let before = self.map.clone();
        let gone = pieces_of(&before, partition, &known)
            .map(|old| Edit::Remove(&old.start))
            .collect();
        match before.edit(gone) {
            Ok(map) => self.map = map,
            Err(error) => unreachable!("removing ranges of this very version failed: {error}"),
        }
        self.names.remove(partition);
        self.version += 1;
        true
    }

    /// Makes the table what shows of `entries`, whatever it was before; whether that changed anything.
    ///
    /// As if all were applied to an empty table, whatever their order; of two partitions that claim a key in the same
    /// epoch, one that shows now comes before one that does not, then the lower name. The workers stay as they are.
    pub fn replace_all(
        &mut self,
        entries: impl IntoIterator<Item = Entry>,
    ) -> Result<bool, IndexError> {
        let key_length = self.map.key_length();
        let entries = entries
            .into_iter()
            .map(|entry| Ok(Arc::new(entry.padded(key_length)?)));
        let entries = entries.collect::<Result<Vec<_>, IndexError>>()?;
        let shown = overlay(entries, |partition| self.names.get(partition).is_some());
        if self.entries().eq(&shown) {
            return Ok(false);
        }
        let pieces: Vec<_> = shown.iter().map(Entry::piece).collect();
        self.map = RangeMap::from_pieces(key_length, &pieces)?;
        let mut extents: HashMap<&Arc<str>, Extent> = HashMap::new();
        for entry in &shown {
            match extents.get_mut(&entry.partition) {
                Some(extent) => extent.grow(entry, 1),
                None => _ = extents.insert(&entry.partition, Extent::of(entry, 1)),
            }
        }
        self.names = Names::default();
        for (name, extent) in extents {
            self.names.insert(name, extent);
        }
        self.version += 1;
        Ok(true)
    }

    /// The entry that has `key`, which may be shorter than the key length (padded with zeros); none in a gap.
    #[inline]
    pub fn lookup(&self, key: &[u8]) -> Option<&Arc<Entry>> {
        self.map.find(key).map(|(_, entry)| entry)
    }

    /// All entries in the order of keys; they do not overlap.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.map.iter().map(|piece| piece.value)
    }

    /// The entries that share a key with `start..end`, in the order of keys.
    pub fn overlapping(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> impl Iterator<Item = &Arc<Entry>> {
        self.map
            .range(self.map.overlapping(start, end))
            .map(|piece| piece.value)
    }

    /// What `partition` shows, in the order of keys; nothing if others have all its keys.
    pub fn entries_of(&self, partition: &str) -> impl Iterator<Item = &Arc<Entry>> {
        self.names
            .get(partition)
            .into_iter()
            .flat_map(move |known| pieces_of(&self.map, partition, known))
    }

    /// Sets where the data plane of a worker listens; whether that changed anything.
    pub fn set_worker(&mut self, name: &str, address: &str) -> bool {
        if self.address(name).is_some_and(|known| **known == *address) {
            return false;
        }
        Arc::make_mut(&mut self.workers).insert(name.into(), address.into());
        self.version += 1;
        true
    }

    /// Forgets where a worker listens; whether it was known.
    pub fn remove_worker(&mut self, name: &str) -> bool {
        if !self.workers.contains_key(name) {
            return false;
        }
        Arc::make_mut(&mut self.workers).remove(name);
        self.version += 1;
        true
    }

    /// Where the data plane of a worker listens.
    pub fn address(&self, name: &str) -> Option<&Arc<str>> {
        self.workers.get(name)
    }

    /// Data addresses by the name of the worker.
    pub fn addresses(&self) -> &BTreeMap<Arc<str>, Arc<str>> {
        &self.workers
    }

    /// Length of the keys in bytes.
    pub fn key_length(&self) -> usize {
        self.map.key_length()
    }

    /// How many entries show.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether no entry shows.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Grows with every change of an entry or a worker.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The changes that, made to `old` one after the other, make it show what `new` shows.
    ///
    /// Costs what changed between the two if one came from the other, and never more than both tables once.
    pub fn diff(old: &Self, new: &Self) -> Vec<Change> {
        let gone = old.map.unshared(&new.map).map(|piece| piece.value);
        let come = new.map.unshared(&old.map).map(|piece| piece.value);
        let touched = differing(gone, come);
        let mut changes = Vec::new();
        for partition in &touched {
            if let Some(known) = old.names.get(partition) {
                changes.push(Change::Withdraw {
                    partition: Arc::clone(partition),
                    epoch: known.epoch,
                });
            }
        }
        for partition in &touched {
            changes.extend(new.entries_of(partition).cloned().map(Change::Apply));
        }
        for (name, address) in new
            .workers
            .iter()
            .filter(|(name, address)| old.address(name) != Some(address))
        {
            changes.push(Change::SetWorker {
                name: Arc::clone(name),
                address: Arc::clone(address),
            });
        }
        for name in old
            .workers
            .keys()
            .filter(|name| new.address(name).is_none())
        {
            changes.push(Change::RemoveWorker {
                name: Arc::clone(name),
            });
        }
        changes
    }

    /// Makes one step of [`RoutingTable::diff`]; whether it changed anything.
    pub fn change(&mut self, change: &Change) -> Result<bool, IndexError> {
        Ok(match change {
            Change::Withdraw { partition, epoch } => self.withdraw(partition, *epoch),
            Change::Apply(entry) => self.apply(Entry::clone(entry))?,
            Change::SetWorker { name, address } => self.set_worker(name, address),
            Change::RemoveWorker { name } => self.remove_worker(name),
        })
    }

    /// Brings the names up to date with pieces that went and came when `entry` was applied.
    fn recount(
        &mut self,
        entry: &Entry,
        same: Option<&Extent>,
        removed: &[&Arc<Entry>],
        added: &[Arc<Entry>],
    ) {
        let mut counts: BTreeMap<&Arc<str>, (usize, usize)> = BTreeMap::new();
        for old in removed {
            counts.entry(&old.partition).or_default().0 += 1;
        }
        for new in added {
            counts.entry(&new.partition).or_default().1 += 1;
        }
        for (name, (went, came)) in counts {
            let known = if *name == entry.partition {
                same.cloned()
            } else {
                self.names.get(name).map(|e| (**e).clone())
            };
            let extent = match known {
                Some(mut known) => {
                    known.pieces = known.pieces + came - went;
                    if *name == entry.partition {
                        known.grow(entry, 0);
                    }
                    known
                }
                None => Extent::of(entry, came),
            };
            match extent.pieces {
                0 => self.names.remove(name),
                _ => self.names.insert(name, extent),
            }
        }
    }
}

/// The partitions of entries that only one of two lists has, both of them in the order of keys.
fn differing<'a>(
    left: impl Iterator<Item = &'a Arc<Entry>>,
    right: impl Iterator<Item = &'a Arc<Entry>>,
) -> BTreeSet<&'a Arc<str>> {
    let (mut left, mut right) = (left.peekable(), right.peekable());
    let mut partitions = BTreeSet::new();
    loop {
        let order = match (left.peek(), right.peek()) {
            (Some(one), Some(other)) if Arc::ptr_eq(one, other) => {
                left.next();
                right.next();
                continue;
            }
            (Some(one), Some(other)) => one.start.cmp(&other.start),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return partitions,
        };
        let one = if order.is_le() { left.next() } else { None };
        let other = if order.is_ge() { right.next() } else { None };
        if one != other {
            partitions.extend(
                [one, other]
                    .into_iter()
                    .flatten()
                    .map(|entry| &entry.partition),
            );
        }
    }
}

/// The pieces of `partition` in `map`, all of which lie in its extent.
fn pieces_of<'a>(
    map: &'a RangeMap<Arc<Entry>>,
    partition: &str,
    known: &Extent,
) -> impl Iterator<Item = &'a Arc<Entry>> + use<'a> {
    let pieces = map
        .range(map.overlapping(&known.start, known.end.as_deref()))
        .map(|piece: Piece<'a, _>| piece.value);
    let own: Vec<_> = pieces
        .filter(|entry| *entry.partition == *partition)
        .take(known.pieces)
        .collect();
    own.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(partition: &str, start: &str, end: &str, epoch: u64, owner: &str) -> Entry {
        let (start, end) = (start.as_bytes().into(), Some(end.as_bytes().into()));
        Entry {
            partition: partition.into(),
            start,
            end,
            epoch,
            owner: owner.into(),
        }
    }

    fn shown(table: &RoutingTable) -> String {
        let readable = crate::key::readable;
        let one = |entry: &Arc<Entry>| {
            let end = entry
                .end
                .as_deref()
                .map_or_else(|| "∞".to_owned(), readable);
            format!(
                "{}..{end} {}@{} {}",
                readable(&entry.start),
                entry.partition,
                entry.epoch,
                entry.owner
            )
        };
        table.entries().map(one).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn the_parts_of_a_split_take_over_one_by_one() {
        let mut table = RoutingTable::new(1).unwrap();
        table.apply(entry("part", "a", "o", 1, "pod1")).unwrap();
        table.apply(entry("right", "e", "o", 2, "pod1")).unwrap();
        assert_eq!(shown(&table), "a..e part@1 pod1, e..o right@2 pod1");
        table.apply(entry("left", "a", "e", 2, "pod1")).unwrap();
        assert_eq!(shown(&table), "a..e left@2 pod1, e..o right@2 pod1");
        assert!(!table.withdraw("part", 1), "nothing of it shows any more");
        assert!(table.names.get("part").is_none());
    }

    #[test]
    fn a_merged_partition_covers_its_parts_whichever_comes_first() {
        let mut table = RoutingTable::new(1).unwrap();
        table.apply(entry("left", "a", "e", 2, "pod1")).unwrap();
        table.apply(entry("whole", "a", "o", 3, "pod1")).unwrap();
        assert!(!table.apply(entry("right", "e", "o", 2, "pod1")).unwrap());
        assert_eq!(shown(&table), "a..o whole@3 pod1");
    }

    #[test]
    fn a_move_changes_the_owner_and_late_news_does_not_change_it_back() {
        let mut table = RoutingTable::new(1).unwrap();
        table.apply(entry("part", "a", "", 7, "pod1")).unwrap();
        let before = table.clone();
        table.apply(entry("part", "a", "", 8, "pod2")).unwrap();
        assert!(!table.apply(entry("part", "a", "", 7, "pod1")).unwrap());
        assert_eq!(shown(&table), "a..∞ part@8 pod2");
        assert_eq!(shown(&before), "a..∞ part@7 pod1");
        assert_eq!(table.version(), before.version() + 1);
    }

    #[test]
    fn workers_come_and_go_by_name() {
        let mut table = RoutingTable::new(1).unwrap();
        assert!(
            table.set_worker("pod1", "127.0.0.1:1") && !table.set_worker("pod1", "127.0.0.1:1")
        );
        assert_eq!(
            table.address("pod1").map(|address| &**address),
            Some("127.0.0.1:1")
        );
        assert!(table.remove_worker("pod1") && !table.remove_worker("pod1"));
        assert_eq!(table.version(), 2);
    }
}
