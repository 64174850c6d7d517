//! The tree against a `BTreeMap`: any sequence of writes, scans, splits, joins and snapshots.

mod support;

use std::sync::Arc;

use dstk_core::tree::{Tree, TreeError, drop_in_background};
use proptest::prelude::*;
use support::{Model, assert_same, key, owned, range, summary, tree_of, value};

const KEY_LENGTHS: [usize; 5] = [1, 3, 8, 16, 1024];

#[derive(Debug, Clone)]
enum Step {
    /// Put `count` rows from `first` on, every `stride`-th key, upwards or downwards.
    Put {
        first: u32,
        stride: u32,
        count: u32,
        down: bool,
    },
    /// Remove the same, whether they are there or not.
    Remove {
        first: u32,
        stride: u32,
        count: u32,
        down: bool,
    },
    /// Cut the partition that holds this key there.
    Split(u32),
    /// Join a partition with the next one.
    Join(usize),
    /// Keep a snapshot of a partition until the end.
    Snapshot(usize),
    /// Read a range both ways, from both ends at once, and add it up.
    Scan(u32, Option<u32>),
    /// Replace a range by a few rows.
    Replace(u32, u32, u32),
}

fn step(keys: u32, run: u32) -> impl Strategy<Value = Step> {
    let runs = move || (0..keys, 1..4u32, 1..run, any::<bool>());
    prop_oneof![
        6 => runs().prop_map(|(first, stride, count, down)| Step::Put { first, stride, count, down }),
        4 => runs().prop_map(|(first, stride, count, down)| Step::Remove { first, stride, count, down }),
        3 => (0..keys).prop_map(Step::Split),
        2 => (0..8usize).prop_map(Step::Join),
        1 => (0..8usize).prop_map(Step::Snapshot),
        2 => (0..keys, proptest::option::of(0..keys)).prop_map(|(start, end)| Step::Scan(start, end)),
        1 => (0..keys, 1..keys, 0..run).prop_map(|(start, width, count)| Step::Replace(start, width, count)),
    ]
}

/// Neighbouring partitions, each a tree and its model; `starts` holds the lowest key of each.
struct Partitions {
    key_length: usize,
    keys: u32,
    parts: Vec<(u32, Tree, Model)>,
    snapshots: Vec<(Tree, Model)>,
    version: u64,
}

impl Partitions {
    fn new(key_length: usize, keys: u32) -> Self {
        let parts = vec![(0, Tree::new(key_length), Model::new())];
        Self {
            key_length,
            keys,
            parts,
            snapshots: Vec::new(),
            version: 0,
        }
    }

    fn owner(&self, number: u32) -> usize {
        self.parts.partition_point(|part| part.0 <= number) - 1
    }

    fn run(&self, first: u32, stride: u32, count: u32, down: bool) -> Vec<u32> {
        let run = (0..count).map(|i| first.saturating_add(i * stride));
        let mut run: Vec<u32> = run.filter(|number| *number < self.keys).collect();
        if down {
            run.reverse();
        }
        run
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Put {
                first,
                stride,
                count,
                down,
            } => {
                for number in self.run(first, stride, count, down) {
                    self.version += 1;
                    let (key, value) = (key(number, self.key_length), value(number, self.version));
                    let owner = self.owner(number);
                    let (_, tree, model) = &mut self.parts[owner];
                    let old = tree.insert(&key, value.as_slice().into(), self.version);
                    let old = old.map(|(value, version)| (value.to_vec(), version));
                    assert_eq!(old, model.insert(key, (value, self.version)));
                }
            }
            Step::Remove {
                first,
                stride,
                count,
                down,
            } => {
                for number in self.run(first, stride, count, down) {
                    let key = key(number, self.key_length);
                    let owner = self.owner(number);
                    let (_, tree, model) = &mut self.parts[owner];
                    let old = tree
                        .remove(&key)
                        .map(|(value, version)| (value.to_vec(), version));
                    assert_eq!(old, model.remove(&key));
                    assert_eq!(tree.get(&key), None);
                }
            }
            Step::Split(number) => {
                let at = key(number, self.key_length);
                let owner = self.owner(number);
                let (start, tree, model) = &mut self.parts[owner];
                if *start < number {
                    let (tree, model) = (tree.split_off(&at), model.split_off(&at));
                    self.parts.insert(owner + 1, (number, tree, model));
                }
            }
            Step::Join(part) => {
                if part + 1 < self.parts.len() {
                    let (_, right, mut rows) = self.parts.remove(part + 1);
                    let (_, tree, model) = &mut self.parts[part];
                    *tree = Tree::join(tree.clone(), right).unwrap();
                    model.append(&mut rows);
                }
            }
            Step::Snapshot(part) => {
                if let Some((_, tree, model)) = self.parts.get(part) {
                    self.snapshots.push((tree.clone(), model.clone()));
                }
            }
            Step::Scan(start, end) => self.scan(start, end),
            Step::Replace(start, width, count) => {
                let owner = self.owner(start);
                let last = self.parts.get(owner + 1).map_or(self.keys, |part| part.0);
                let end = start.saturating_add(width).min(last);
                let mut rows = Model::new();
                for number in (start..end).take(count as usize) {
                    self.version += 1;
                    rows.insert(
                        key(number, self.key_length),
                        (value(number, self.version), self.version),
                    );
                }
                let new = tree_of(&rows, self.key_length);
                let (_, tree, model) = &mut self.parts[owner];
                let (start, end) = (key(start, self.key_length), key(end, self.key_length));
                // At one byte a key, the end of the keyspace has no key of its own.
                if start < end {
                    let old = tree.replace_range(&start, Some(&end), new).unwrap();
                    let expected = range(model, &start, Some(&end));
                    assert!(old.iter().map(owned).eq(expected));
                    model.retain(|key, _| *key < start || *key >= end);
                    model.extend(rows);
                }
            }
        }
    }

    fn scan(&self, start: u32, end: Option<u32>) {
        let (_, tree, model) = &self.parts[self.owner(start)];
        let (start, end) = (
            key(start, self.key_length),
            end.map(|end| key(end, self.key_length)),
        );
        let expected = range(model, &start, end.as_deref());
        let rows = || tree.range(&start, end.as_deref());
        assert_eq!(rows().len(), expected.len());
        assert!(rows().map(owned).eq(expected.clone()));
        assert!(rows().rev().map(owned).eq(expected.iter().rev().cloned()));
        assert_eq!(rows().nth(70).map(owned), expected.get(70).cloned());
        let (mut both, mut model) = (rows(), expected.iter());
        while let Some(row) = both.next() {
            assert_eq!(Some(&owned(row)), model.next());
            assert_eq!(both.next_back().map(owned).as_ref(), model.next_back());
        }
        assert_eq!(model.next(), None);
        assert_eq!(tree.summary(&start, end.as_deref()), summary(&expected));
    }

    fn check(&self) {
        for (_, tree, model) in &self.parts {
            assert_same(tree, model);
            let keys: Vec<&Vec<u8>> = model.keys().collect();
            assert_eq!(tree.first_key(), keys.first().map(|key| &***key));
            assert_eq!(tree.last_key(), keys.last().map(|key| &***key));
            for (rank, key) in keys.iter().enumerate().step_by(37) {
                assert_eq!(tree.key_at(rank as u64).as_deref(), Some(&***key));
                assert_eq!(tree.rank(key), rank as u64);
                assert_eq!(
                    tree.get(key).map(owned),
                    model
                        .get_key_value(*key)
                        .map(|(k, r)| (k.clone(), r.clone()))
                );
            }
            assert_eq!(tree.key_at(tree.rows()), None);
        }
        for (tree, model) in &self.snapshots {
            assert_same(tree, model);
        }
    }
}

fn steps() -> impl Strategy<Value = (usize, u32, Vec<Step>)> {
    proptest::sample::select(&KEY_LENGTHS).prop_flat_map(|key_length| {
        let keys = if key_length == 1 { 256 } else { 12_000 };
        let run = if key_length == 1024 { 400 } else { 3000 };
        (
            Just(key_length),
            Just(keys),
            proptest::collection::vec(step(keys, run), 1..40),
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn trees_behave_as_maps((key_length, keys, steps) in steps()) {
        let mut partitions = Partitions::new(key_length, keys);
        for step in steps {
            partitions.step(step);
        }
        partitions.check();
    }

    #[test]
    fn trees_of_any_heights_join_and_part(
        left in 0..9000u32,
        right in 0..9000u32,
        cut in 0..18_000u32,
        shared in any::<bool>(),
    ) {
        let model = |numbers: std::ops::Range<u32>| -> Model {
            numbers.map(|number| (key(number, 16), (value(number, 1), 1))).collect()
        };
        let (low, high) = (tree_of(&model(0..left), 16), tree_of(&model(left..left + right), 16));
        let kept = shared.then(|| (low.clone(), high.clone()));
        let mut joined = Tree::join(low, high).unwrap();
        let all = model(0..left + right);
        assert_same(&joined, &all);
        let above = joined.split_off(&key(cut, 16));
        let at = cut.min(left + right);
        assert_same(&joined, &model(0..at));
        assert_same(&above, &model(at..left + right));
        if let Some((low, high)) = kept {
            assert_same(&low, &model(0..left));
            assert_same(&high, &model(left..left + right));
        }
    }
}

fn rows(numbers: impl Iterator<Item = u32>, key_length: usize) -> Model {
    numbers
        .map(|number| (key(number, key_length), (value(number, 1), 1)))
        .collect()
}

#[test]
fn a_single_row_joins_a_high_tree_on_either_side() {
    for key_length in KEY_LENGTHS {
        let many = if key_length == 1 { 254 } else { 30_000 };
        let (one, rest, last) = (
            rows(0..1, key_length),
            rows(1..=many, key_length),
            rows(many + 1..many + 2, key_length),
        );
        let joined = Tree::join(tree_of(&one, key_length), tree_of(&rest, key_length)).unwrap();
        let joined = Tree::join(joined, tree_of(&last, key_length)).unwrap();
        assert_same(&joined, &rows(0..many + 2, key_length));
    }
}

#[test]
fn many_small_trees_joined_from_either_end_stay_balanced() {
    let parts: Vec<Tree> = (0..400)
        .map(|part| tree_of(&rows(part * 50..part * 50 + 1 + part % 50, 3), 3))
        .collect();
    let whole = rows(
        (0..400).flat_map(|part| part * 50..part * 50 + 1 + part % 50),
        3,
    );
    let up = parts
        .iter()
        .cloned()
        .reduce(|left, right| Tree::join(left, right).unwrap())
        .unwrap();
    let down = parts
        .into_iter()
        .rev()
        .reduce(|right, left| Tree::join(left, right).unwrap())
        .unwrap();
    assert_same(&up, &whole);
    assert_same(&down, &whole);
    assert_eq!((up.digest(), up.bytes()), (down.digest(), down.bytes()));
}

#[test]
fn cut_at_every_key_and_joined_again() {
    let model = rows(0..700, 16);
    let tree = tree_of(&model, 16);
    for at in 0..=700 {
        let mut low = tree.clone();
        let high = low.split_off(&key(at, 16));
        assert_eq!(
            (low.rows(), high.rows()),
            (u64::from(at), u64::from(700 - at))
        );
        low.verify().unwrap();
        high.verify().unwrap();
        let joined = Tree::join(low, high).unwrap();
        joined.verify().unwrap();
        assert_eq!(joined.total(), tree.total());
    }
    assert_same(&tree, &model);
}

#[test]
fn emptied_from_either_end_and_filled_again() {
    for down in [false, true] {
        let mut tree = tree_of(&rows(0..5000, 8), 8);
        for i in 0..5000 {
            let number = if down { 4999 - i } else { i };
            assert!(tree.remove(&key(number, 8)).is_some());
            if i % 97 == 0 {
                tree.verify().unwrap();
            }
        }
        assert!(tree.is_empty() && tree.first_key().is_none() && tree.iter().next().is_none());
        assert_eq!(tree.total(), Default::default());
        tree.insert(&key(1, 8), value(1, 1).into(), 1);
        assert_same(&tree, &rows(1..2, 8));
    }
}

#[test]
fn overlapping_trees_do_not_join() {
    let (low, high) = (tree_of(&rows(0..10, 3), 3), tree_of(&rows(9..20, 3), 3));
    let error = Tree::join(low.clone(), high.clone()).unwrap_err();
    assert!(matches!(error, TreeError::NotAscending { .. }), "{error}");
    assert!(Tree::join(high, low).is_err());
    let error = Tree::join(Tree::new(3), Tree::new(4)).unwrap_err();
    assert_eq!(
        error,
        TreeError::KeyLength {
            found: 4,
            expected: 3
        }
    );
}

#[test]
fn rows_out_of_order_or_of_another_length_do_not_load() {
    let row = |key: &'static [u8]| (key, Arc::from(b"".as_slice()), 1);
    for repeated in [[b"b", b"a"], [b"a", b"a"]] {
        let error = Tree::from_sorted(1, repeated.map(|key| row(key))).unwrap_err();
        assert!(matches!(error, TreeError::NotAscending { .. }), "{error}");
    }
    let error = Tree::from_sorted(2, [row(b"a")]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("is 1 bytes; this keyspace takes exactly 2"),
        "{error}"
    );
}

#[test]
fn a_refused_replacement_leaves_the_tree_as_it_was() {
    let mut tree = tree_of(&rows(0..100, 3), 3);
    let before = tree.total();
    let (start, end) = (key(10, 3), key(20, 3));
    for (start, end, new) in [
        (&start, Some(&*end), tree_of(&rows(9..12, 3), 3)),
        (&start, Some(&*end), tree_of(&rows(19..21, 3), 3)),
        (&end, Some(&*start), Tree::new(3)),
        (&start, None, Tree::new(4)),
    ] {
        assert!(tree.replace_range(start, end, new).is_err());
        assert_eq!(tree.total(), before);
    }
}

#[test]
#[should_panic(expected = "key abc has the wrong length")]
fn a_key_of_another_length_is_not_put() {
    Tree::new(16).insert(b"abc", Arc::from(b"".as_slice()), 1);
}

#[test]
fn a_snapshot_shares_what_was_not_written() {
    let mut tree = tree_of(&rows(0..20_000, 16), 16);
    let snapshot = tree.clone();
    tree.insert(&key(5, 16), value(5, 9).into(), 9);
    let kept: Vec<_> = snapshot
        .iter()
        .zip(tree.iter())
        .map(|(a, b)| Arc::ptr_eq(a.value, b.value))
        .collect();
    assert_eq!(kept.iter().filter(|same| !**same).count(), 1);
    assert_same(&snapshot, &rows(0..20_000, 16));
}

#[test]
fn a_tree_is_freed_in_the_background() {
    let value: Arc<[u8]> = Arc::from(b"kept".as_slice());
    for _ in 0..3 {
        let tree =
            Tree::from_sorted(8, (0..100_000).map(|i| (key(i, 8), value.clone(), 1))).unwrap();
        drop_in_background(tree);
    }
    drop_in_background(Tree::from_sorted(8, [(key(1, 8), value.clone(), 1)]).unwrap());
    while Arc::strong_count(&value) > 1 {
        std::thread::yield_now();
    }
}
