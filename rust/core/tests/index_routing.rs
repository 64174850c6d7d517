//! The routing table against one slot a key.

use dstk_core::routing::{Entry, RoutingTable};
use proptest::prelude::*;

const KEYS: usize = 40;

#[derive(Debug, Clone)]
enum Step {
    Apply(Shown, usize, usize),
    Withdraw(u8, u64),
    ReplaceAll(Vec<(Shown, usize, usize)>),
    Snapshot,
}

/// What a key shows: partition, epoch, owner.
type Shown = (u8, u64, u8);

fn entry((partition, epoch, owner): Shown, start: usize, length: usize) -> Entry {
    let end = (start + length < KEYS).then(|| vec![(start + length) as u8].into());
    let (partition, owner) = (
        format!("part{partition}").into(),
        format!("worker-{owner}").into(),
    );
    Entry {
        partition,
        start: vec![start as u8].into(),
        end,
        epoch,
        owner,
    }
}

/// The rules of the table, a key at a time.
#[derive(Debug, Clone, PartialEq)]
struct Model([Option<Shown>; KEYS]);

impl Model {
    fn apply(&mut self, new: Shown, start: usize, length: usize) {
        if self
            .0
            .iter()
            .flatten()
            .any(|old| old.0 == new.0 && old.1 > new.1)
        {
            return;
        }
        for (key, slot) in self.0.iter_mut().enumerate() {
            if slot.is_some_and(|old| old.0 == new.0 && old.1 < new.1) {
                *slot = None;
            }
            let free = slot.is_none_or(|old| old.1 < new.1 || (old.0 == new.0 && old.1 == new.1));
            if free && (start..start + length).contains(&key) {
                *slot = Some(new);
            }
        }
    }

    fn withdraw(&mut self, partition: u8, epoch: u64) {
        for slot in &mut self.0 {
            *slot = slot.filter(|old| old.0 != partition || old.1 > epoch);
        }
    }

    /// The lower the rank, the nearer the top; so apply from the bottom up.
    fn replace_all(&mut self, entries: &[(Shown, usize, usize)]) {
        let held: Vec<u8> = self.0.iter().flatten().map(|old| old.0).collect();
        let newest = |partition: u8| {
            entries
                .iter()
                .filter(|e| e.0.0 == partition)
                .map(|e| e.0.1)
                .max()
        };
        let mut entries: Vec<_> = entries
            .iter()
            .filter(|e| newest(e.0.0) == Some(e.0.1))
            .copied()
            .collect();
        entries.sort_by_key(|(new, ..)| (new.1, held.contains(&new.0), std::cmp::Reverse(new.0)));
        self.0 = [None; KEYS];
        for (new, start, length) in entries {
            for slot in self.0.iter_mut().skip(start).take(length) {
                *slot = Some(new);
            }
        }
    }
}

fn check(table: &RoutingTable, model: &Model) {
    for (key, slot) in model.0.iter().enumerate() {
        let shown = table.lookup(&[key as u8]).map(|entry| {
            (
                entry.partition.to_string(),
                entry.epoch,
                entry.owner.to_string(),
            )
        });
        let expected = slot.map(|(partition, epoch, owner)| {
            (format!("part{partition}"), epoch, format!("worker-{owner}"))
        });
        assert_eq!(shown, expected, "key {key}");
    }
    for (left, right) in table.entries().zip(table.entries().skip(1)) {
        assert!(
            left.end.as_ref().is_some_and(|end| *end <= right.start),
            "{left:?} overlaps {right:?}"
        );
    }
    for partition in 0..8 {
        let name = format!("part{partition}");
        assert!(
            table
                .entries_of(&name)
                .eq(table.entries().filter(|entry| *entry.partition == *name)),
            "{name}"
        );
    }
}

fn shown() -> impl Strategy<Value = (Shown, usize, usize)> {
    (0..8u8, 0..5u64, 0..3u8, 0..KEYS, 1..KEYS).prop_map(
        |(partition, epoch, owner, start, length)| {
            ((partition, epoch, owner), start, length.min(KEYS - start))
        },
    )
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => shown().prop_map(|(new, start, length)| Step::Apply(new, start, length)),
        2 => (0..8u8, 0..5u64).prop_map(|(partition, epoch)| Step::Withdraw(partition, epoch)),
        1 => prop::collection::vec(shown(), 0..8).prop_map(Step::ReplaceAll),
        1 => Just(Step::Snapshot),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_table_shows_the_overlay_by_epoch(steps in prop::collection::vec(steps(), 1..40)) {
        let mut table = RoutingTable::new(1).unwrap();
        let mut model = Model([None; KEYS]);
        let mut snapshots = vec![(table.clone(), model.clone())];
        for step in steps {
            let (version, before) = (table.version(), table.entries().cloned().collect::<Vec<_>>());
            let changed = match step {
                Step::Apply(new, start, length) => {
                    model.apply(new, start, length);
                    table.apply(entry(new, start, length)).unwrap()
                }
                Step::Withdraw(partition, epoch) => {
                    model.withdraw(partition, epoch);
                    table.withdraw(&format!("part{partition}"), epoch)
                }
                Step::ReplaceAll(entries) => {
                    model.replace_all(&entries);
                    table.replace_all(entries.into_iter().map(|(new, start, length)| entry(new, start, length))).unwrap()
                }
                Step::Snapshot => {
                    snapshots.push((table.clone(), model.clone()));
                    false
                }
            };
            check(&table, &model);
            prop_assert_eq!(table.version(), version + u64::from(changed));
            prop_assert_eq!(table.entries().eq(&before), !changed);
        }
        for (snapshot, model) in &snapshots {
            check(snapshot, model);
            let mut caught_up = snapshot.clone();
            for change in RoutingTable::diff(snapshot, &table) {
                caught_up.change(&change).unwrap();
            }
            prop_assert!(caught_up.entries().eq(table.entries()));
            prop_assert!(RoutingTable::diff(&caught_up, &table).is_empty());
        }
    }
}
