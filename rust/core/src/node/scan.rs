//! Pages of rows, in the order of keys, across partitions and the gaps between them.

use std::sync::Arc;

use super::keyspace_store::{BUSY, Found, KeyspaceStore, LOOKUPS};
use super::slot::PartitionSlot;
use crate::disk::{Journal, Position};
use crate::index::RangeMap;
use crate::key::{KeyError, pad, readable};
use crate::partition::{Code, Nanos, Reply, Target, Waiter};
use crate::tree::{Row, Tree, Value, drop_in_background};

/// What to scan: at most `limit` rows of `[start, end)`.
#[derive(Debug, Clone)]
pub struct Scan<'a> {
    /// First key, included; shorter than the key length means padded with zero bytes.
    pub start: &'a [u8],
    /// Past the last key; empty: no end.
    pub end: &'a [u8],
    /// From `end` down to `start`.
    pub reverse: bool,
    /// Rows, at least 1; cut to the node's limit.
    pub limit: usize,
    /// Bytes of keys and values; 0: the node's limit. A page holds one row at least, whatever its size.
    pub max_bytes: usize,
}

/// One page of rows, all of one partition's consistent snapshot, in the order of the scan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys, one after the other.
    pub keys: Vec<u8>,
    /// Versions.
    pub versions: Vec<u64>,
    /// Values.
    pub values: Vec<Value>,
    /// Where to go on: forward, the new `start`; reverse, the new `end`. None when done.
    pub cursor: Option<Box<[u8]>>,
    /// It may be told only when the node's log is on disk up to here; 0: at once.
    pub after: Position,
}

/// What became of a [`Scan`].
#[derive(Debug)]
pub enum ScanOutcome {
    /// A page; it may be empty and still have a cursor (a gap between partitions, an empty partition).
    Page(Page),
    /// The scan itself is wrong: [`Code::Invalid`], or a bound is reached.
    Failed(Reply),
    /// It is held behind a fence; the waiter is told [`Verdict::Retry`](crate::partition::Verdict::Retry),
    /// `Forward` or `Unavailable`.
    Parked,
    /// Another worker serves the first key to look at.
    Forward(Target),
    /// That key is served by nobody known.
    NotHere,
}

/// A scan whose bounds have full length and hold a key.
struct Span {
    start: Box<[u8]>,
    end: Option<Box<[u8]>>,
    reverse: bool,
    rows: usize,
    bytes: usize,
}

impl KeyspaceStore {
    /// One page of rows; `park` as in [`KeyspaceStore::execute`].
    pub fn scan(
        &self,
        scan: &Scan<'_>,
        now: Nanos,
        park: impl FnOnce() -> Box<dyn Waiter>,
    ) -> ScanOutcome {
        let span = match self.span(scan) {
            Ok(Some(span)) => span,
            Ok(None) => return ScanOutcome::Page(Page::default()),
            Err(reply) => return ScanOutcome::Failed(reply),
        };
        let first = if span.reverse {
            below(span.end.as_deref(), self.key_length)
        } else {
            span.start.clone()
        };
        let mut park = Some(park);
        for _ in 0..LOOKUPS {
            let slots = self.slots.load_full();
            let Some((_, slot)) = slots.find(&first) else {
                return self.pass_gap(&span, &first, &slots);
            };
            match self.find(slot, &first, None, now, &mut park) {
                Found::Serving(mut partition) => {
                    let snapshot = partition.tree.clone();
                    let after = partition.journal.as_mut().map_or(0, Journal::after_all);
                    drop(partition);
                    let page = read(slot, snapshot, &span);
                    return ScanOutcome::Page(Page { after, ..page });
                }
                Found::Held(Ok(())) => return ScanOutcome::Parked,
                Found::Held(Err(full)) => {
                    return ScanOutcome::Failed(Reply::failed(Code::Limit, full));
                }
                Found::Elsewhere(Some(target)) => return ScanOutcome::Forward(target),
                Found::Elsewhere(None) => return ScanOutcome::NotHere,
                Found::Replaced => {}
            }
        }
        ScanOutcome::Failed(Reply::failed(Code::Unavailable, BUSY))
    }

    /// None when the range holds no key because its end is its start.
    fn span(&self, scan: &Scan<'_>) -> Result<Option<Span>, Reply> {
        let invalid = |text: String| Reply::failed(Code::Invalid, text);
        if scan.limit == 0 {
            return Err(invalid(
                "a scan takes a limit of at least one row: give it one".into(),
            ));
        }
        let wrong_key = |error: KeyError| invalid(error.to_string());
        let start = pad(scan.start, self.key_length).map_err(wrong_key)?;
        let end = match scan.end {
            [] => None,
            end => Some(pad(end, self.key_length).map_err(wrong_key)?),
        };
        if let Some(end) = end.as_ref().filter(|end| **end <= start) {
            if *end == start {
                return Ok(None);
            }
            let text = format!(
                "a scan from {} to {} goes backwards: give start below end, and reverse for descending order",
                readable(&start),
                readable(end)
            );
            return Err(invalid(text));
        }
        let settings = &self.context.settings;
        let bytes = match scan.max_bytes {
            0 => settings.scan_max_bytes,
            bytes => bytes.min(settings.scan_max_bytes),
        };
        let rows = scan.limit.min(settings.scan_max_rows.max(1));
        Ok(Some(Span {
            start,
            end,
            reverse: scan.reverse,
            rows,
            bytes,
        }))
    }

    /// What to answer when no partition here has `first`: who else has it, or where the next range begins.
    fn pass_gap(
        &self,
        span: &Span,
        first: &[u8],
        slots: &RangeMap<Arc<PartitionSlot>>,
    ) -> ScanOutcome {
        let routes = self.routes.load_full();
        let Some(routes) = routes else {
            return ScanOutcome::NotHere;
        };
        if routes.lookup(first).is_some() {
            return match self.route_elsewhere(first) {
                Some(target) => ScanOutcome::Forward(target),
                None => ScanOutcome::NotHere,
            };
        }
        let inside = slots.overlapping(&span.start, span.end.as_deref());
        let mut routed = routes.overlapping(&span.start, span.end.as_deref());
        let cursor: Option<Box<[u8]>> = if span.reverse {
            let held = inside
                .end
                .checked_sub(1)
                .filter(|last| inside.contains(last));
            let held = held
                .and_then(|last| slots.get(last))
                .and_then(|piece| piece.end);
            let known = routed.last().and_then(|entry| entry.end.as_deref());
            held.max(known).map(Into::into)
        } else {
            let held = slots.range(inside).next().map(|piece| piece.start);
            let known = routed.next().map(|entry| &*entry.start);
            match (held, known) {
                (Some(held), Some(known)) => Some(held.min(known).into()),
                (one, other) => one.or(other).map(Into::into),
            }
        };
        ScanOutcome::Page(Page {
            cursor,
            ..Page::default()
        })
    }
}

/// The page of a partition's snapshot, read without its lock.
fn read(slot: &PartitionSlot, snapshot: Tree, span: &Span) -> Page {
    let start = (&*span.start).max(&*slot.bounds.start);
    let end = match (span.end.as_deref(), slot.bounds.end()) {
        (Some(asked), Some(held)) => Some(asked.min(held)),
        (one, other) => one.or(other),
    };
    let rows = snapshot.range(start, end);
    let (mut page, complete) = if span.reverse {
        collect(rows.rev(), span, |_| true)
    } else {
        collect(rows, span, |_| false)
    };
    if complete {
        // On from the partition's edge, unless that is where the scan ends.
        page.cursor = if span.reverse {
            Some(start)
                .filter(|start| **start != *span.start)
                .map(Into::into)
        } else {
            end.filter(|end| Some(*end) != span.end.as_deref())
                .map(Into::into)
        };
    }
    let mut partition = slot.partition.lock();
    partition.load.counts.scans += 1;
    let bytes = page.keys.len() + page.values.iter().map(|value| value.len()).sum::<usize>();
    partition.load.counts.bytes_read += bytes as u64;
    drop(partition);
    drop_in_background(snapshot);
    page
}

/// Takes rows until the page is full; whether these were all. The cursor of a full page is the first row left out, or
/// in reverse the last row taken.
fn collect<'a>(
    rows: impl Iterator<Item = Row<'a>>,
    span: &Span,
    from_taken: impl Fn(&Row<'a>) -> bool,
) -> (Page, bool) {
    let mut page = Page::default();
    let mut bytes = 0;
    let mut last: Option<Row<'a>> = None;
    for row in rows {
        bytes += row.key.len() + row.value.len();
        if page.versions.len() == span.rows || (bytes > span.bytes && last.is_some()) {
            let cursor = last.filter(from_taken).unwrap_or(row);
            page.cursor = Some(cursor.key.into());
            return (page, false);
        }
        page.keys.extend_from_slice(row.key);
        page.versions.push(row.version);
        page.values.push(row.value.clone());
        last = Some(row);
    }
    (page, true)
}

/// The highest key below `end`, which is not the lowest key.
fn below(end: Option<&[u8]>, key_length: usize) -> Box<[u8]> {
    let Some(end) = end else {
        return vec![u8::MAX; key_length].into();
    };
    let mut key: Box<[u8]> = end.into();
    for byte in key.iter_mut().rev() {
        let borrow = *byte == 0;
        *byte = byte.wrapping_sub(1);
        if !borrow {
            break;
        }
    }
    key
}
