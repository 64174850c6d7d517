//! Which range holds a key: an immutable index over many ranges, cheap to derive a next version from.

mod chunk;
mod column;
mod error;
mod key_rows;
mod lanes;
mod locate;
mod range_map;
mod sorted_keys;

pub use chunk::Piece;
pub use error::IndexError;
pub use key_rows::{IntegerKeys, KeyRows, Keys};
pub use lanes::Instructions;
pub(crate) use range_map::Edit;
pub use range_map::RangeMap;

use std::borrow::Cow;

use crate::key::{Bounds, check_key_length, pad, readable};

/// The highest owner number of a [`RangeIndex`]: [`RangeIndex::group`] counts by owner in an array.
pub const MAX_OWNER: u32 = (1 << 24) - 1;

/// Ranges to take out of a [`RangeIndex`] and to put in.
#[derive(Debug, Clone, Default)]
pub struct Delta {
    /// Starts of ranges that go.
    pub remove: Vec<Box<[u8]>>,
    /// Ranges that come, each with its owner.
    pub add: Vec<(Bounds, u32)>,
}

/// Which keys of a batch go to which owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// Positions of the keys in the batch, by owner, and in the order of the batch within one owner; keys that lie in
    /// no range come last.
    pub order: Vec<i64>,
    /// Owner `o` has `order[offsets[o]..offsets[o + 1]]`; what no owner has starts at `offsets[owners]`. One entry
    /// an owner and two more, the last being the number of keys.
    pub offsets: Vec<i64>,
}

/// Closed-open ranges over keys of one length, gaps allowed, each with the number of its owner.
///
/// Immutable: [`RangeIndex::apply`] gives a new version that shares all but one block a change with this one, and a
/// clone is one reference count. A range's position is its place in the order of keys, in this version.
#[derive(Debug, Clone)]
pub struct RangeIndex {
    map: RangeMap<u32>,
    owners: u32,
}

impl RangeIndex {
    /// An index of ranges given by column, in ascending order of their starts.
    ///
    /// Starts and ends narrower than `key_length` are padded with zeros. An end of zeros alone (or of no bytes) means
    /// no end. Without `ends` each range goes up to the next start, the last one has no end; without `owners` each
    /// range has an owner of its own, numbered by position.
    pub fn from_columns(
        starts: KeyRows<'_>,
        ends: Option<KeyRows<'_>>,
        owners: Option<&[u32]>,
        key_length: usize,
    ) -> Result<Self, IndexError> {
        let columns = [
            ("ends", ends.map(|ends| ends.len())),
            ("owners", owners.map(<[u32]>::len)),
        ];
        for (what, other) in columns {
            if let Some(other) = other.filter(|other| *other != starts.len()) {
                return Err(IndexError::UnequalColumns {
                    starts: starts.len(),
                    what,
                    other,
                });
            }
        }
        check_key_length(key_length)?;
        let count = starts.len();
        if owners.is_none() && count > MAX_OWNER as usize + 1 {
            let last = u32::try_from(count - 1).unwrap_or(u32::MAX);
            return Err(IndexError::OwnerTooHigh(last));
        }
        let starts = padded(starts, key_length)?;
        let ends = ends.map(|ends| padded(ends, key_length)).transpose()?;
        let starts = KeyRows::new(&starts, key_length);
        let ends = ends.as_ref().map(|ends| KeyRows::new(ends, key_length));
        let mut pieces = Vec::with_capacity(count);
        let mut highest = None;
        for position in 0..count {
            let start = starts.get(position);
            let next = (position + 1 < count).then(|| starts.get(position + 1));
            if let Some(next) = next.filter(|next| *next <= start) {
                let (start, before) = (readable(next), readable(start));
                let position = position + 1;
                return Err(IndexError::NotAscending {
                    position,
                    start,
                    before,
                });
            }
            let end = match &ends {
                Some(ends) => {
                    Some(ends.get(position)).filter(|end| end.iter().any(|byte| *byte != 0))
                }
                None => next,
            };
            if end.is_some_and(|end| end <= start) {
                Bounds::new(start.into(), end.map(Into::into))?;
            }
            let value = match owners {
                Some(owners) => owners[position],
                None => u32::try_from(position).unwrap_or(u32::MAX),
            };
            check_owner(value)?;
            highest = highest.max(Some(value));
            pieces.push(Piece { start, end, value });
        }
        Ok(Self {
            map: RangeMap::from_pieces(key_length, &pieces)?,
            owners: highest.map_or(0, |highest| highest + 1),
        })
    }

    /// The version after `delta`: what is removed makes room for what is added.
    ///
    /// Errors, and gives no new version, if a range to remove is not there or ranges would overlap. A change of owner
    /// removes and adds the same bounds.
    pub fn apply(&self, delta: &Delta) -> Result<Self, IndexError> {
        let key_length = self.key_length();
        let remove: Vec<_> = delta
            .remove
            .iter()
            .map(|start| pad(start, key_length))
            .collect::<Result<_, _>>()?;
        let mut edits: Vec<_> = remove.iter().map(|start| Edit::Remove(start)).collect();
        for (bounds, owner) in &delta.add {
            crate::key::check_key(&bounds.start, key_length)?;
            edits.push(Edit::Add(piece(bounds, *owner)?));
        }
        let map = self.map.edit(edits)?;
        let highest = delta
            .add
            .iter()
            .map(|(_, owner)| owner + 1)
            .max()
            .unwrap_or(0);
        Ok(Self {
            map,
            owners: self.owners.max(highest),
        })
    }

    /// The position of the range that holds `key`, which may be shorter than the key length (padded with zeros).
    #[inline]
    pub fn find(&self, key: &[u8]) -> Option<usize> {
        self.map.find(key).map(|(position, _)| position)
    }

    /// The owner of the range that holds `key`.
    #[inline]
    pub fn owner(&self, key: &[u8]) -> Option<u32> {
        self.map.find(key).map(|(_, owner)| *owner)
    }

    /// The position for each of `keys`, -1 for a key in a gap.
    pub fn find_many<K: Keys>(&self, keys: K) -> Result<Vec<i64>, IndexError> {
        let mut out = vec![0; keys.len()];
        self.find_into(keys, &mut out)?;
        Ok(out)
    }

    /// [`RangeIndex::find_many`] into `out`, which has one place a key.
    pub fn find_into<K: Keys>(&self, keys: K, out: &mut [i64]) -> Result<(), IndexError> {
        self.find_into_with(keys, out, Instructions::best())
    }

    /// [`RangeIndex::find_into`] with chosen instructions; the result is the same.
    pub fn find_into_with<K: Keys>(
        &self,
        keys: K,
        out: &mut [i64],
        instructions: Instructions,
    ) -> Result<(), IndexError> {
        self.check_batch(&keys, out.len())?;
        self.map.positions(keys, instructions, |at, position| {
            out[at] = position.map_or(-1, |position| position as i64);
        });
        Ok(())
    }

    /// The owner for each of `keys` into `out`, which has one place a key; [`RangeIndex::owners`] for a key in a gap.
    pub fn owners_into<K: Keys>(&self, keys: K, out: &mut [u32]) -> Result<(), IndexError> {
        self.check_batch(&keys, out.len())?;
        let nobody = self.owners;
        self.map.values(keys, Instructions::best(), |at, owner| {
            out[at] = owner.copied().unwrap_or(nobody);
        });
        Ok(())
    }

    /// Sorts the positions of `keys` by owner: one look-up a key, then one counting sort, which is stable.
    pub fn group<K: Keys>(&self, keys: K) -> Result<Groups, IndexError> {
        let mut owners = vec![0; keys.len()];
        let mut order = vec![0; keys.len()];
        let mut offsets = vec![0; self.owners as usize + 2];
        self.owners_into(keys, &mut owners)?;
        sort_by_owner(&owners, &mut order, &mut offsets)?;
        Ok(Groups { order, offsets })
    }

    /// Bounds and owner of the range at `position`.
    pub fn get(&self, position: usize) -> Option<Piece<'_, &u32>> {
        self.map.get(position)
    }

    /// All ranges in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = Piece<'_, &u32>> {
        self.map.iter()
    }

    /// How many ranges.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there is no range.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Length of the keys in bytes.
    pub fn key_length(&self) -> usize {
        self.map.key_length()
    }

    /// One more than the highest owner number that this version or one before it had.
    pub fn owners(&self) -> u32 {
        self.owners
    }

    /// Bytes of memory of this version, those shared with others included.
    pub fn nbytes(&self) -> usize {
        size_of::<Self>() + self.map.nbytes()
    }

    fn check_batch<K: Keys>(&self, keys: &K, out: usize) -> Result<(), IndexError> {
        if keys.width() > self.key_length() {
            return Err(IndexError::RowsTooWide {
                width: keys.width(),
                key_length: self.key_length(),
            });
        }
        check_out(out, keys.len())
    }
}

/// A stable counting sort of the positions in `owners` by what stands there: [`Groups`] into `order`, which has one
/// place a position, and `offsets`, which has one place an owner (the last being nobody) and one more.
pub fn sort_by_owner(
    owners: &[u32],
    order: &mut [i64],
    offsets: &mut [i64],
) -> Result<(), IndexError> {
    check_out(order.len(), owners.len())?;
    // Neighbours are counted apart: a count that has just been written is slow to be read.
    let mut counts = vec![0; 2 * offsets.len()];
    let (even, odd) = counts.split_at_mut(offsets.len());
    let (pairs, rest) = owners.as_chunks::<2>();
    for [left, right] in pairs {
        even[*left as usize + 1] += 1;
        odd[*right as usize + 1] += 1;
    }
    for owner in rest {
        even[*owner as usize + 1] += 1;
    }
    let mut sum = 0;
    for ((offset, even), odd) in offsets.iter_mut().zip(even).zip(odd) {
        sum += *even + *odd;
        *offset = sum;
    }
    let mut next = offsets.to_vec();
    for (owner, position) in owners.iter().zip(0..) {
        let place = &mut next[*owner as usize];
        order[*place as usize] = position;
        *place += 1;
    }
    Ok(())
}

fn check_out(out: usize, keys: usize) -> Result<(), IndexError> {
    if out == keys {
        Ok(())
    } else {
        Err(IndexError::WrongOutLength { out, keys })
    }
}

/// The rows side by side, each padded with zeros to `key_length` bytes.
fn padded<'a>(rows: KeyRows<'a>, key_length: usize) -> Result<Cow<'a, [u8]>, IndexError> {
    if let Some(whole) = rows.side_by_side().filter(|_| rows.width() == key_length) {
        return Ok(Cow::Borrowed(whole));
    }
    let mut bytes = Vec::with_capacity(rows.len() * key_length);
    for row in rows.iter() {
        if row.len() > key_length {
            pad(row, key_length)?;
        }
        bytes.extend_from_slice(row);
        bytes.resize(bytes.len() + key_length - row.len(), 0);
    }
    Ok(Cow::Owned(bytes))
}

fn piece(bounds: &Bounds, owner: u32) -> Result<Piece<'_, u32>, IndexError> {
    check_owner(owner)?;
    Ok(Piece {
        start: &bounds.start,
        end: bounds.end(),
        value: owner,
    })
}

fn check_owner(owner: u32) -> Result<(), IndexError> {
    if owner > MAX_OWNER {
        return Err(IndexError::OwnerTooHigh(owner));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(starts: &[u8], ends: &[u8], owners: &[u32]) -> Result<RangeIndex, IndexError> {
        RangeIndex::from_columns(
            KeyRows::new(starts, 1),
            Some(KeyRows::new(ends, 1)),
            Some(owners),
            1,
        )
    }

    fn bounds(start: &str, end: &str) -> Bounds {
        Bounds::padded(start.as_bytes(), end.as_bytes(), 1).unwrap()
    }

    #[test]
    fn ranges_are_closed_open_and_may_leave_gaps() {
        let index = index(b"bdm", b"dh\0", &[7, 1, 7]).unwrap();
        let found: Vec<_> = b"abcdghmz".chunks(1).map(|key| index.find(key)).collect();
        assert_eq!(
            found,
            [
                None,
                Some(0),
                Some(0),
                Some(1),
                Some(1),
                None,
                Some(2),
                Some(2)
            ]
        );
        assert_eq!(index.owner(b"z"), Some(7));
        assert_eq!(
            index.find_many(KeyRows::new(b"abmi", 1)).unwrap(),
            [-1, 0, 2, -1]
        );
        assert_eq!(index.get(2).unwrap().end, None);
        assert!(index.get(3).is_none());
    }

    #[test]
    fn without_ends_each_range_reaches_the_next() {
        let index = RangeIndex::from_columns(KeyRows::new(b"\0kt", 1), None, None, 1).unwrap();
        assert_eq!(
            index.find_many(KeyRows::new(b"\0az\xff", 1)).unwrap(),
            [0, 0, 2, 2]
        );
        assert_eq!(index.owners(), 3);
    }

    #[test]
    fn groups_are_stable_and_gaps_come_last() {
        let index = index(b"bdm", b"dh\0", &[2, 0, 2]).unwrap();
        let groups = index.group(KeyRows::new(b"zedabd", 1)).unwrap();
        assert_eq!(groups.order, [1, 2, 5, 0, 4, 3]);
        assert_eq!(groups.offsets, [0, 3, 3, 5, 6]);
    }

    #[test]
    fn a_split_a_merge_and_a_new_owner_leave_older_versions_alone() {
        let first = index(b"b", b"h", &[1]).unwrap();
        let remove = vec![b"b".as_slice().into()];
        let add = vec![(bounds("b", "d"), 1), (bounds("d", "h"), 3)];
        let split = first
            .apply(&Delta {
                remove: remove.clone(),
                add,
            })
            .unwrap();
        assert_eq!(
            (split.len(), split.owner(b"e"), split.owners()),
            (2, Some(3), 4)
        );
        let both = vec![b"b".as_slice().into(), b"d".as_slice().into()];
        let merged = split
            .apply(&Delta {
                remove: both,
                add: vec![(bounds("b", "h"), 2)],
            })
            .unwrap();
        assert_eq!((merged.len(), merged.owner(b"e")), (1, Some(2)));
        assert_eq!((first.len(), first.owner(b"e")), (1, Some(1)));
        assert_eq!(
            first
                .apply(&Delta {
                    remove,
                    add: Vec::new()
                })
                .unwrap()
                .find(b"e"),
            None
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let message = |result: Result<RangeIndex, IndexError>| result.unwrap_err().to_string();
        assert_eq!(
            message(index(b"bd", b"e\0", &[0, 1])),
            "ranges [b, e) and [d, +∞) overlap: a key may lie in one range only"
        );
        assert!(
            message(index(b"db", b"e\0", &[0, 1]))
                .starts_with("start 1 (b) is not above the start before it (d)")
        );
        assert!(message(index(b"b", b"e", &[0, 1])).starts_with("1 starts but 2 owners"));
        assert!(message(index(b"b", b"e", &[1 << 24])).starts_with("owner 16777216 is above"));
        assert!(message(index(b"b", b"a", &[0])).starts_with("range [b, a) is empty"));
        let one = index(b"b", b"e", &[0]).unwrap();
        let absent = Delta {
            remove: vec![b"c".as_slice().into()],
            add: Vec::new(),
        };
        assert!(message(one.apply(&absent)).starts_with("no range starts at c"));
        let over = Delta {
            remove: Vec::new(),
            add: vec![(bounds("a", ""), 0)],
        };
        assert!(message(one.apply(&over)).contains("overlap"));
        assert!(matches!(
            one.find_many(KeyRows::new(b"abcd", 2)),
            Err(IndexError::RowsTooWide { .. })
        ));
    }
}
