//! The overlay of many entries at once: for every key the entry that has it.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use super::entry::Entry;

/// What shows of `entries` when the higher epoch has the keys that two claim, as entries that do not overlap, sorted.
///
/// A partition counts in its newest epoch only. Between equal epochs, a partition that `holds` says was shown before
/// comes first, then the lower name; within one partition, the later entry. A sweep over the starts with a heap of the
/// entries that are open: O(n log n).
pub(super) fn overlay(
    mut entries: Vec<Arc<Entry>>,
    holds: impl Fn(&str) -> bool,
) -> Vec<Arc<Entry>> {
    let mut newest: HashMap<Arc<str>, u64> = HashMap::new();
    for entry in &entries {
        let epoch = newest.entry(Arc::clone(&entry.partition)).or_default();
        *epoch = entry.epoch.max(*epoch);
    }
    entries.reverse();
    entries.retain(|entry| entry.epoch == newest[&entry.partition]);
    entries.sort_by_cached_key(|entry| {
        let name = Arc::clone(&entry.partition);
        (Reverse(entry.epoch), !holds(&name), name)
    });
    sweep(&entries)
}

/// An entry by its place in the list and the part of its range that shows.
type Shown<'a> = (usize, &'a [u8], Option<&'a [u8]>);

/// What shows of `entries`, the first of the list being on top.
fn sweep(entries: &[Arc<Entry>]) -> Vec<Arc<Entry>> {
    let mut by_start: Vec<usize> = (0..entries.len()).collect();
    by_start.sort_by(|left, right| entries[*left].start.cmp(&entries[*right].start));
    let mut coming = by_start.into_iter().peekable();
    let mut open: BinaryHeap<Reverse<usize>> = BinaryHeap::new();
    let mut shown: Vec<Shown<'_>> = Vec::new();
    let mut at: &[u8] = &[];
    loop {
        while let Some(index) = coming.next_if(|index| &*entries[*index].start <= at) {
            open.push(Reverse(index));
        }
        let next = coming.peek().map(|index| &*entries[*index].start);
        let Some(Reverse(top)) = open.peek().copied() else {
            match next {
                Some(start) => at = start,
                None => break,
            }
            continue;
        };
        let end = entries[top].end.as_deref();
        if end.is_some_and(|end| end <= at) {
            open.pop();
            continue;
        }
        let until = lower_end(end, next);
        match shown.last_mut() {
            Some((last, _, last_end)) if *last == top && *last_end == Some(at) => *last_end = until,
            _ => shown.push((top, at, until)),
        }
        match until {
            Some(until) => at = until,
            None => break,
        }
    }
    let whole = |entry: &Entry, start: &[u8], end: Option<&[u8]>| {
        *entry.start == *start && entry.end.as_deref() == end
    };
    let cut = |(index, start, end): Shown<'_>| match &entries[index] {
        entry if whole(entry, start, end) => Arc::clone(entry),
        entry => entry.cut(start, end),
    };
    shown.into_iter().map(cut).collect()
}

fn lower_end<'a>(left: Option<&'a [u8]>, right: Option<&'a [u8]>) -> Option<&'a [u8]> {
    match (left, right) {
        (Some(left), Some(right)) => Some(if left.cmp(right) == Ordering::Greater {
            right
        } else {
            left
        }),
        (one, other) => one.or(other),
    }
}
