//! The range index against a map of ranges, through many versions.

use std::collections::BTreeMap;

use dstk_core::index::{Delta, IndexError, Instructions, IntegerKeys, KeyRows, Keys, RangeIndex};
use dstk_core::key::Bounds;
use proptest::prelude::*;

/// How an integer becomes a key: what the ranges' starts share decides how a search goes.
#[derive(Debug, Clone, Copy)]
enum Layout {
    /// The two bytes alone.
    Short,
    /// The two bytes, then zeros.
    Head,
    /// Twelve bytes that all keys share, then the two.
    SharedHead,
    /// Eight bytes that many keys share, far from the first difference.
    Ties,
    /// Long runs of keys that share their first thirteen bytes, which begin long runs of their own.
    Runs,
    /// Eight bytes, up to the highest there are.
    Integer,
}

impl Layout {
    fn key(self, number: u16) -> Vec<u8> {
        let [high, low] = number.to_be_bytes();
        match self {
            Self::Short => vec![high, low],
            Self::Head => [&[high, low], [0; 14].as_slice()].concat(),
            Self::SharedHead => [b"user:account".as_slice(), &[high, low], b"\0\0"].concat(),
            Self::Ties => [&[high >> 4], [7; 10].as_slice(), &[high, low]].concat(),
            Self::Runs => [
                [high >> 6; 13].as_slice(),
                &[low & 3; 9],
                &[low, high],
                &[9; 10],
            ]
            .concat(),
            Self::Integer => (u64::MAX - u64::from(u16::MAX - number) * 3)
                .to_be_bytes()
                .to_vec(),
        }
    }

    fn key_length(self) -> usize {
        self.key(0).len()
    }
}

fn layouts() -> impl Strategy<Value = Layout> {
    prop_oneof![
        Just(Layout::Short),
        Just(Layout::Head),
        Just(Layout::SharedHead),
        Just(Layout::Ties),
        Just(Layout::Integer)
    ]
}

/// Ranges by start; an end of `TOP` stands for none.
type Model = BTreeMap<u32, (u32, u32)>;
const TOP: u32 = 1 << 16;

fn bounds(layout: Layout, start: u32, end: u32) -> Bounds {
    let key = |number: u32| layout.key(number as u16).into_boxed_slice();
    Bounds::new(key(start), (end < TOP).then(|| key(end))).unwrap()
}

fn build(layout: Layout, model: &Model) -> RangeIndex {
    let empty =
        RangeIndex::from_columns(KeyRows::new(b"", 0), None, None, layout.key_length()).unwrap();
    let add = model
        .iter()
        .map(|(start, (end, owner))| (bounds(layout, *start, *end), *owner))
        .collect();
    empty
        .apply(&Delta {
            remove: Vec::new(),
            add,
        })
        .unwrap()
}

/// Ranges between the cuts, every seventh left out as a gap.
fn model_of(cuts: &[u16], owners: u32) -> Model {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| u32::from(*cut)).collect();
    cuts.sort_unstable();
    cuts.dedup();
    cuts.push(TOP);
    let ranges = cuts
        .windows(2)
        .enumerate()
        .filter(|(place, _)| place % 7 != 3);
    ranges
        .map(|(place, pair)| (pair[0], (pair[1], place as u32 % owners)))
        .collect()
}

/// Position and owner of the range that holds `key`, of ranges in order.
fn expect(ranges: &[(u32, u32, u32)], key: u16) -> Option<(usize, u32)> {
    let position = ranges.iter().rposition(|range| range.0 <= u32::from(key))?;
    (u32::from(key) < ranges[position].1).then_some((position, ranges[position].2))
}

fn check(layout: Layout, index: &RangeIndex, model: &Model, probes: &[u16]) {
    let around = model
        .iter()
        .step_by(1 + model.len() / 50)
        .flat_map(|(start, (end, _))| [start.wrapping_sub(1), *start, end - 1, *end]);
    let probes: Vec<u16> = around
        .map(|key| key as u16)
        .chain(probes.iter().copied())
        .collect();
    let ranges: Vec<_> = model
        .iter()
        .map(|(start, (end, owner))| (*start, *end, *owner))
        .collect();
    let expected: Vec<_> = probes.iter().map(|key| expect(&ranges, *key)).collect();
    let flat: Vec<u8> = probes.iter().flat_map(|key| layout.key(*key)).collect();
    let rows = KeyRows::new(&flat, layout.key_length());
    let found = index.find_many(rows).unwrap();
    check_batches(index, rows, &found);
    for ((key, position), expected) in probes.iter().zip(&found).zip(&expected) {
        assert_eq!(
            *position,
            expected.map_or(-1, |(position, _)| position as i64),
            "key {key}"
        );
        assert_eq!(
            index.owner(&layout.key(*key)),
            expected.map(|(_, owner)| owner)
        );
    }
    assert_eq!(index.len(), model.len());
    let shown: Vec<_> = index
        .iter()
        .map(|piece| {
            (
                piece.start.to_vec(),
                piece.end.map(<[u8]>::to_vec),
                *piece.value,
            )
        })
        .collect();
    let ranges = model
        .iter()
        .map(|(start, (end, owner))| (bounds(layout, *start, *end), *owner));
    assert!(
        ranges
            .map(|(b, owner)| (b.start.to_vec(), b.end.map(Vec::from), owner))
            .eq(shown)
    );
    let groups = index.group(rows).unwrap();
    let owner_of = |at: i64| expected[at as usize].map_or(index.owners(), |(_, owner)| owner);
    let mut by_owner: Vec<i64> = (0..probes.len() as i64).collect();
    by_owner.sort_by_key(|at| owner_of(*at));
    assert_eq!(groups.order, by_owner);
    for (owner, pair) in groups.offsets.windows(2).enumerate() {
        let members = &groups.order[pair[0] as usize..pair[1] as usize];
        assert!(members.iter().all(|at| owner_of(*at) as usize == owner));
    }
    assert_eq!(groups.offsets.len(), index.owners() as usize + 2);
    assert_eq!(*groups.offsets.last().unwrap() as usize, probes.len());
}

/// The same keys by all instructions, in other forms and by themselves.
fn check_batches(index: &RangeIndex, rows: KeyRows<'_>, found: &[i64]) {
    let mut again = vec![0; rows.len()];
    for instructions in Instructions::available() {
        again.fill(i64::MIN);
        index
            .find_into_with(rows, &mut again, instructions)
            .unwrap();
        assert_eq!(again, found, "{instructions:?}");
    }
    let width = rows.width();
    let mut records = vec![0xee; rows.len() * (width + 3)];
    for (record, key) in records.chunks_exact_mut(width + 3).rev().zip(rows.iter()) {
        record[..width].copy_from_slice(key);
    }
    let stride = -(width as isize + 3);
    let first = records.len() - (width + 3);
    let records = KeyRows::strided(&records, first, stride, rows.len(), width).unwrap();
    assert_eq!(index.find_many(records).unwrap(), found);
    if width == 8 {
        let integer = |key: &[u8]| u64::from_be_bytes(key.try_into().unwrap());
        let integers: Vec<u64> = rows.iter().map(integer).collect();
        assert_eq!(index.find_many(IntegerKeys(&integers)).unwrap(), found);
    }
    let alone = |key: &[u8]| index.find(key).map_or(-1, |position| position as i64);
    assert!(rows.iter().map(alone).eq(found.iter().copied()));
    let narrow: Vec<u8> = rows
        .iter()
        .flat_map(|key| &key[..width - 1])
        .copied()
        .collect();
    let narrow = KeyRows::new(&narrow, width - 1);
    let found = index.find_many(narrow).unwrap();
    assert!(narrow.iter().map(alone).eq(found));
}

#[test]
fn runs_within_runs_are_found_like_all_else() {
    // The order of these keys is not that of the numbers: ranges are built from the sorted keys.
    let mut keys: Vec<_> = (0..=u16::MAX)
        .step_by(3)
        .map(|n| Layout::Runs.key(n))
        .collect();
    keys.sort();
    let starts = keys.concat();
    let width = keys[0].len();
    let index = RangeIndex::from_columns(KeyRows::new(&starts, width), None, None, width).unwrap();
    let mut probes: Vec<_> = (0..=u16::MAX).map(|n| Layout::Runs.key(n)).collect();
    probes.push(vec![0; width]);
    probes.push(vec![0xff; width]);
    let flat = probes.concat();
    let rows = KeyRows::new(&flat, width);
    let found = index.find_many(rows).unwrap();
    for (probe, position) in probes.iter().zip(&found) {
        assert_eq!(
            *position,
            keys.partition_point(|key| key <= probe) as i64 - 1
        );
    }
    check_batches(&index, rows, &found);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_version_agrees_with_a_map_of_ranges(
        layout in layouts(),
        cuts in prop::collection::vec(any::<u16>(), 0..2500),
        deltas in prop::collection::vec((any::<prop::sample::Index>(), 0..900usize, prop::collection::vec(any::<u16>(), 0..700)), 0..6),
        probes in prop::collection::vec(any::<u16>(), 1..200),
    ) {
        let mut model = model_of(&cuts, 9);
        let mut index = build(layout, &model);
        check(layout, &index, &model, &probes);
        for (at, count, cuts) in deltas {
            let older = (index.clone(), model.clone());
            let starts: Vec<u32> = model.keys().copied().collect();
            let from = if starts.is_empty() { 0 } else { at.index(starts.len()) };
            let gone = &starts[from..starts.len().min(from + count)];
            let low = gone.first().copied().unwrap_or(0);
            let high = starts.get(from + gone.len()).copied().unwrap_or(TOP);
            for start in gone {
                model.remove(start);
            }
            let mut come = Model::new();
            if !gone.is_empty() || starts.is_empty() {
                let inside: Vec<u16> = cuts.into_iter().filter(|cut| (low..high).contains(&u32::from(*cut))).collect();
                come = model_of(&inside, 11);
                for (end, _) in come.values_mut() {
                    *end = high.min(*end);
                }
            }
            let delta = Delta {
                remove: gone.iter().map(|start| layout.key(*start as u16).into()).collect(),
                add: come.iter().map(|(start, (end, owner))| (bounds(layout, *start, *end), *owner)).collect(),
            };
            model.extend(come);
            index = index.apply(&delta).unwrap();
            check(layout, &index, &model, &probes);
            check(layout, &older.0, &older.1, &probes);
        }
    }

    #[test]
    fn a_delta_that_would_overlap_is_refused_and_no_other(
        layout in layouts(),
        cuts in prop::collection::vec(any::<u16>(), 1..1500),
        remove in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        add in prop::collection::vec((any::<u16>(), 1..3000u32), 1..3),
    ) {
        let model = model_of(&cuts, 5);
        let starts: Vec<u32> = model.keys().copied().collect();
        let mut remove: Vec<u32> = remove.iter().filter(|_| !starts.is_empty()).map(|at| starts[at.index(starts.len())]).collect();
        remove.sort_unstable();
        remove.dedup();
        let add: Vec<(u32, u32)> = add.into_iter().map(|(start, length)| (u32::from(start), (u32::from(start) + length).min(TOP))).collect();
        let kept = model.iter().filter(|(start, _)| !remove.contains(start)).map(|(start, (end, _))| (*start, *end));
        let mut all: Vec<_> = kept.chain(add.iter().copied()).collect();
        all.sort_unstable();
        let overlaps = all.windows(2).any(|pair| pair[0].1 > pair[1].0);
        let delta = Delta {
            remove: remove.iter().map(|start| layout.key(*start as u16).into()).collect(),
            add: add.iter().map(|(start, end)| (bounds(layout, *start, *end), 0)).collect(),
        };
        let result = build(layout, &model).apply(&delta);
        prop_assert_eq!(matches!(result, Err(IndexError::Overlap { .. })), overlaps);
        prop_assert_eq!(result.is_ok(), !overlaps);
    }
}
