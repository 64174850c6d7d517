//! Many keys at once: each step of the search is taken for a whole batch, so that what one key waits for from memory
//! comes while the others are looked at.

use std::cmp::Ordering;
use std::mem::transmute;
use std::sync::Arc;

use super::chunk::Chunk;
use super::column::View;
use super::key_rows::{KeyRows, Keys};
use super::lanes::{Instructions, Lanes, Work};
use super::range_map::RangeMap;
use super::sorted_keys::{SortedKeys, compare_head, prefix_at};

/// Keys of a batch: enough to hide the memory behind, few enough for the nearest cache.
const BATCH: usize = 32;

/// The way into some sorted keys: what a search needs of them, close together.
#[derive(Debug, Clone, Copy)]
struct Door<'a> {
    column: View<'a>,
    skip: u32,
    /// The first eight bytes of the keys, or what `skip` leaves of them.
    head: i64,
    /// Whether equal integers mean equal keys.
    exact: bool,
    /// Whether the integers are the keys' first bytes, and not many are equal.
    straight: bool,
}

/// The way into the list of chunks, by the first start of each.
#[derive(Debug)]
pub(super) struct ListDoor {
    /// Borrows from `firsts`.
    door: Door<'static>,
    firsts: Arc<SortedKeys>,
}

/// The way into one chunk.
#[derive(Debug)]
pub(super) struct ChunkDoor<V: 'static> {
    /// Borrows from `chunk`.
    door: Door<'static>,
    /// Borrows from `chunk`.
    values: &'static [V],
    gaps: bool,
    /// The position of its first range.
    pub(super) base: usize,
    chunk: Arc<Chunk<V>>,
}

impl<'a> Door<'a> {
    /// None if there are no keys.
    fn new(keys: &'a SortedKeys) -> Option<Self> {
        let entrance = keys.entrance()?;
        Some(Self {
            column: entrance.column,
            skip: entrance.skip as u32,
            head: head_at(prefix_at(keys.head(), 0), entrance.skip as u32),
            exact: entrance.exact,
            straight: entrance.skip == 0 && !entrance.runs,
        })
    }
}

impl ListDoor {
    /// Into a list of chunks, of which these are the first starts; none if there are no chunks.
    pub(super) fn new(firsts: &Arc<SortedKeys>) -> Option<Self> {
        let door = Door::new(firsts)?;
        // SAFETY: what it borrows from is kept beside it, is never changed and does not move, being behind an Arc. No
        // reference leaves this module for longer than that of the list itself.
        let door = unsafe { transmute::<Door<'_>, Door<'static>>(door) };
        Some(Self {
            door,
            firsts: Arc::clone(firsts),
        })
    }
}

impl<V: 'static> ChunkDoor<V> {
    /// Into a chunk, given how many ranges lie before it.
    pub(super) fn new(chunk: Arc<Chunk<V>>, base: usize) -> Option<Self> {
        let door = Door::new(chunk.starts())?;
        // SAFETY: what both borrow from is kept beside them, is never changed and does not move, being behind an Arc.
        // No reference leaves this module for longer than that of the door itself.
        let (door, values) = unsafe {
            (
                transmute::<Door<'_>, Door<'static>>(door),
                transmute::<&[V], &'static [V]>(chunk.values()),
            )
        };
        Some(Self {
            door,
            values,
            gaps: chunk.has_gaps(),
            base,
            chunk,
        })
    }

    /// What belongs to the ranges of the chunk.
    #[inline(always)]
    pub(super) fn values(&self) -> &[V] {
        self.values
    }

    /// The chunk.
    #[inline(always)]
    pub(super) fn chunk(&self) -> &Arc<Chunk<V>> {
        &self.chunk
    }
}

/// Looks up each of `keys`, in order, and tells `found` the key's place in `keys` and the door to its range's chunk with the
/// range's place in that; none for a key in a gap. A little earlier `near` is told the door, and about which place.
pub(super) fn locate<'a, V: 'static, K: Keys>(
    map: &'a RangeMap<V>,
    keys: K,
    instructions: Instructions,
    near: impl Fn(&'a ChunkDoor<V>, usize),
    mut found: impl FnMut(usize, Option<(&'a ChunkDoor<V>, usize)>),
) {
    match (map.entrance(), map.doors().first()) {
        (Some(top), Some(first)) => instructions.run(Locate {
            search: Search { map, top, keys },
            first,
            near,
            found,
        }),
        _ => (0..keys.len()).for_each(|at| found(at, None)),
    }
}

/// Looks up one key.
#[inline]
pub(super) fn locate_one<'a, V: 'static>(
    map: &'a RangeMap<V>,
    key: &[u8],
) -> Option<(&'a ChunkDoor<V>, usize)> {
    struct One<'a, 'k, V: 'static>(Search<'a, V, KeyRows<'k>>);
    impl<'a, V: 'static> Work for One<'a, '_, V> {
        type Output = Option<(&'a ChunkDoor<V>, usize)>;

        #[inline(always)]
        fn run<L: Lanes>(self) -> Self::Output {
            let mut probe = self.0.find_chunk::<L>(0);
            probe.place = probe.door.door.column.about(probe.place);
            self.0.find_slot::<L>(0, &probe)
        }
    }
    let top = map.entrance()?;
    let keys = KeyRows::one(key);
    Instructions::best().run(One(Search { map, top, keys }))
}

struct Locate<'a, V: 'static, K, N, F> {
    search: Search<'a, V, K>,
    first: &'a ChunkDoor<V>,
    near: N,
    found: F,
}

/// The steps for each key.
struct Search<'a, V: 'static, K> {
    map: &'a RangeMap<V>,
    top: &'a ListDoor,
    keys: K,
}

/// How far a key of the batch has come.
struct Probe<'a, V: 'static> {
    door: &'a ChunkDoor<V>,
    /// Eight bytes of the key, those that the chunk's integers stand for.
    prefix: i64,
    /// The bucket to look in, then about where in the chunk the key belongs.
    place: usize,
    /// Whether the key is known to begin with what all of the chunk's starts do.
    same_head: bool,
}

impl<V: 'static> Clone for Probe<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V: 'static> Copy for Probe<'_, V> {}

impl<'a, V: 'static, K, N, F> Work for Locate<'a, V, K, N, F>
where
    K: Keys,
    N: Fn(&'a ChunkDoor<V>, usize),
    F: FnMut(usize, Option<(&'a ChunkDoor<V>, usize)>),
{
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self) {
        let nothing = Probe {
            door: self.first,
            prefix: 0,
            place: 0,
            same_head: false,
        };
        let mut probes = [nothing; BATCH];
        let len = self.search.keys.len();
        let mut from = 0;
        while from < len {
            let probes = &mut probes[..BATCH.min(len - from)];
            for (at, probe) in (from..).zip(probes.iter_mut()) {
                *probe = self.search.find_chunk::<L>(at);
            }
            for probe in probes.iter_mut() {
                let column = &probe.door.door.column;
                probe.place = column.about(probe.place);
                column.prefetch_from(probe.place);
                (self.near)(probe.door, probe.place);
            }
            for (at, probe) in (from..).zip(probes.iter()) {
                let slot = self.search.find_slot::<L>(at, probe);
                (self.found)(at, slot);
            }
            from += probes.len();
        }
    }
}

impl<'a, V: 'static, K: Keys> Search<'a, V, K> {
    /// The chunk to look in; the first one for a key below all ranges.
    ///
    /// Where a few first starts share eight bytes with the key, it may be one of those after the right one:
    /// [`Self::find_slot`] sees that.
    #[inline(always)]
    fn find_chunk<L: Lanes>(&self, at: usize) -> Probe<'a, V> {
        let (map, top) = (self.map, self.top);
        let key = self.keys.get(at);
        let key = key.as_ref();
        let first = prefix_at(key, 0);
        let rank = if top.door.straight {
            top.door.column.rank::<L>(first)
        } else {
            top.firsts.rank(key)
        };
        let chunk = &map.doors()[rank.saturating_sub(1)];
        let door = &chunk.door;
        let (prefix, same_head) = if door.skip == 0 {
            (first, true)
        } else {
            let same_head = door.skip <= 8 && head_at(first, door.skip) == door.head;
            (prefix_at(key, door.skip as usize), same_head)
        };
        let place = door.column.bucket(prefix);
        door.column.prefetch_bucket(place);
        Probe {
            door: chunk,
            prefix,
            place,
            same_head,
        }
    }

    #[inline(always)]
    fn find_slot<L: Lanes>(
        &self,
        at: usize,
        probe: &Probe<'a, V>,
    ) -> Option<(&'a ChunkDoor<V>, usize)> {
        let chunk = probe.door;
        let column = &chunk.door.column;
        let rank = column.rank_from::<L>(probe.place, probe.prefix);
        let slot = rank.wrapping_sub(1);
        let clear = probe.same_head && !chunk.gaps && slot < column.len() - 1;
        let tie = !chunk.door.exact && column.get_or_lowest(slot) == probe.prefix;
        if !clear || tie {
            return self.settle(at, chunk, rank, tie);
        }
        Some((chunk, slot))
    }

    /// What [`Self::find_slot`] cannot tell from eight bytes of the key: whether it comes before or after those that
    /// share them, or have another head, and whether it lies in a gap.
    #[inline(never)]
    fn settle(
        &self,
        at: usize,
        door: &'a ChunkDoor<V>,
        rank: usize,
        tie: bool,
    ) -> Option<(&'a ChunkDoor<V>, usize)> {
        let key = self.keys.get(at);
        let key = key.as_ref();
        let chunk = &door.chunk;
        let rank = match compare_head(key, chunk.starts().head()) {
            Ordering::Less => 0,
            Ordering::Greater => door.door.column.len(),
            Ordering::Equal if tie => chunk.starts().settle(key, rank),
            Ordering::Equal => rank,
        };
        let (door, chunk, rank) = if rank > 0 {
            (door, chunk, rank)
        } else {
            // Below the chunk's first start: a chunk before it has the key, or none.
            let number = self.top.firsts.rank(key).checked_sub(1)?;
            let door = &self.map.doors()[number];
            (door, &door.chunk, door.chunk.starts().rank(key))
        };
        let slot = rank.checked_sub(1)?;
        chunk.is_below_end(slot, key).then_some((door, slot))
    }
}

/// The first `count` bytes, one at least, of the eight in `prefix`; all of them if there are not so many.
#[inline(always)]
fn head_at(prefix: i64, count: u32) -> i64 {
    prefix >> (64 - 8 * count.clamp(1, 8))
}
