//! Calls under way, by the id that their answer comes with.

use super::{Call, bytes_of};
use crate::operation::Verb;

/// Calls that wait for their answer, by id: `generation << 32 | slot << 1 | whether it is a get`. A slot's generation
/// grows with each use, so that the answer to a call given up finds nobody.
pub(super) struct Pending<C> {
    slots: Vec<Slot<C>>,
    free: Vec<u32>,
}

struct Slot<C> {
    generation: u32,
    call: Option<C>,
}

pub(super) fn is_get(id: u64) -> bool {
    id & 1 == 1
}

impl<C: Call> Pending<C> {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(super) fn next_id(&mut self, verb: Verb) -> u64 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                call: None,
            });
            self.slots.len() as u32 - 1
        });
        let generation = self.slots[slot as usize].generation;
        u64::from(generation) << 32 | u64::from(slot) << 1 | u64::from(verb == Verb::Get)
    }

    pub(super) fn insert(&mut self, id: u64, call: C) {
        self.slots[(id as u32 >> 1) as usize].call = Some(call);
    }

    pub(super) fn take(&mut self, id: u64) -> Option<C> {
        let index = id as u32 >> 1;
        let slot = self.slots.get_mut(index as usize)?;
        if slot.generation != (id >> 32) as u32 {
            return None;
        }
        let call = slot.call.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        Some(call)
    }

    /// Has those that were given up let go of what they hold; how many bytes that was.
    pub(super) fn shed(&mut self) -> usize {
        let calls = self.slots.iter_mut().filter_map(|slot| slot.call.as_mut());
        let shed = |call: &mut C| {
            let before = bytes_of(call);
            call.shed();
            before - bytes_of(call)
        };
        calls.filter(|call| call.is_given_up()).map(shed).sum()
    }

    pub(super) fn take_where(&mut self, is_taken: impl Fn(&C) -> bool) -> Vec<C> {
        let taken = |slot: &Slot<C>| slot.call.as_ref().is_some_and(&is_taken);
        let ids = self
            .slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| taken(slot));
        let ids: Vec<u64> = ids
            .map(|(index, slot)| u64::from(slot.generation) << 32 | (index as u64) << 1)
            .collect();
        ids.into_iter().filter_map(|id| self.take(id)).collect()
    }

    pub(super) fn into_calls(self) -> impl Iterator<Item = C> {
        self.slots.into_iter().filter_map(|slot| slot.call)
    }
}
