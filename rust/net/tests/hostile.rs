//! Bytes from anybody: messages that do not fit are refused, and nothing panics.

use std::sync::Arc;

use dstk_core::log::{Effect, LogBatch};
use dstk_net::codec::{BatchWriter, RepliesWriter, read_batch, read_replies};
use dstk_net::operation::{Condition, Operation, Reply, Verb};
use dstk_net::replicate::{read_entries, write_entries};
use dstk_net::wire::{Batch, Code, Failure, LogEntries, Replies};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

const KEY_LENGTH: usize = 4;

fn operation() -> impl Strategy<Value = Operation> {
    let key = || vec(any::<u8>(), KEY_LENGTH);
    prop_oneof![
        key().prop_map(Operation::get),
        (key(), vec(any::<u8>(), 0..20), 0_u64..5)
            .prop_map(|(key, value, condition)| Operation::put(key, value, Condition(condition))),
        (key(), 0_u64..5).prop_map(|(key, condition)| Operation::delete(key, Condition(condition))),
    ]
}

fn reply() -> impl Strategy<Value = (u64, Reply)> {
    (
        any::<u64>(),
        0_i32..9,
        any::<u64>(),
        vec(any::<u8>(), 0..20),
        "[a-z]{0,5}",
    )
        .prop_map(|(id, code, version, value, message)| {
            let code = Code::try_from(code).unwrap();
            let value = (code == Code::Ok && id & 1 == 1).then(|| value.into());
            let message = if code == Code::Ok { "" } else { &message };
            (
                id,
                Reply {
                    code,
                    version,
                    value,
                    message: message.into(),
                },
            )
        })
}

fn effect() -> impl Strategy<Value = Effect> {
    let key = || vec(any::<u8>(), KEY_LENGTH).prop_map(Arc::from);
    prop_oneof![
        (key(), vec(any::<u8>(), 0..20).prop_map(Arc::from))
            .prop_map(|(key, value)| Effect::Put { key, value }),
        key().prop_map(|key| Effect::Delete { key }),
        Just(Effect::Nothing),
    ]
}

fn is_get(id: u64) -> bool {
    id & 1 == 1
}

fn batch() -> impl Strategy<Value = Batch> {
    (
        vec(any::<u64>(), 0..6),
        vec(0_u8..4, 0..6),
        vec(any::<u8>(), 0..30),
        vec(prop_oneof![0_u32..9, any::<u32>()], 0..6),
        vec(any::<u8>(), 0..30),
        vec(any::<u64>(), 0..6),
    )
        .prop_map(
            |(ids, kinds, keys, value_lengths, values, conditions)| Batch {
                keyspace: String::new(),
                hops: 0,
                ids,
                kinds: kinds.into(),
                keys: keys.into(),
                value_lengths,
                values: values.into(),
                conditions,
            },
        )
}

fn replies() -> impl Strategy<Value = Replies> {
    (
        vec(any::<u64>(), 0..6),
        vec(0_u8..11, 0..6),
        vec(any::<u64>(), 0..6),
        vec(prop_oneof![0_u32..9, any::<u32>()], 0..6),
        vec(any::<u8>(), 0..30),
        vec(prop_oneof![0_u32..6, any::<u32>()], 0..4),
    )
        .prop_map(
            |(ids, codes, versions, value_lengths, values, failures)| Replies {
                ids,
                codes: codes.into(),
                versions,
                value_lengths,
                values: values.into(),
                hints: Vec::new(),
                failures: failures
                    .into_iter()
                    .map(|index| Failure {
                        index,
                        message: String::new(),
                    })
                    .collect(),
            },
        )
}

fn entries() -> impl Strategy<Value = LogEntries> {
    (
        prop_oneof![0_u64..9, any::<u64>()],
        vec(0_u8..5, 0..6),
        vec(any::<u8>(), 0..30),
        vec(prop_oneof![0_u32..9, any::<u32>()], 0..6),
        vec(any::<u8>(), 0..30),
    )
        .prop_map(|(first, kinds, keys, value_lengths, values)| LogEntries {
            first,
            kinds: kinds.into(),
            keys: keys.into(),
            value_lengths,
            values: values.into(),
            checksum: 0,
        })
}

proptest! {
    #[test]
    fn operations_survive_the_wire(operations in vec(operation(), 0..40)) {
        let mut writer = BatchWriter::default();
        for (id, operation) in operations.iter().enumerate() {
            writer.push(id as u64, operation);
        }
        let bytes = writer.take("k", 3).encode_to_vec();
        prop_assert!(writer.is_empty());
        let batch = Batch::decode(&bytes[..]).unwrap();
        let read: Vec<_> = read_batch(&batch, "k", KEY_LENGTH).unwrap().collect();
        let expected = operations.iter().enumerate().map(|(id, operation)| (id as u64, operation.clone()));
        prop_assert!(read.iter().map(|item| (item.id, item.to_operation())).eq(expected));
    }

    #[test]
    fn replies_survive_the_wire(replies in vec(reply(), 0..40)) {
        let mut writer = RepliesWriter::default();
        for (id, reply) in &replies {
            writer.reply(*id, reply);
        }
        let message = Replies::decode(&writer.take().encode_to_vec()[..]).unwrap();
        let read: Vec<_> = read_replies(&message, is_get).unwrap().collect();
        prop_assert_eq!(read, replies);
    }

    #[test]
    fn log_entries_survive_the_wire(first in 1_u64..1000, effects in vec(effect(), 1..40)) {
        let message = write_entries(&LogBatch { first, effects: effects.clone() });
        let message = LogEntries::decode(&message.encode_to_vec()[..]).unwrap();
        prop_assert_eq!(read_entries(&message, KEY_LENGTH).unwrap(), effects);
    }

    #[test]
    fn a_batch_that_fits_gives_an_item_an_id_and_any_other_an_error(batch in batch(), key_length in 1_usize..6) {
        if let Ok(items) = read_batch(&batch, "k", key_length) {
            let items: Vec<_> = items.collect();
            prop_assert_eq!(items.len(), batch.ids.len());
            let bytes: usize = items.iter().map(|item| item.value.len()).sum();
            prop_assert_eq!(bytes, batch.values.len());
            prop_assert!(items.iter().all(|item| item.verb == Verb::Put || item.value.is_empty()));
        }
    }

    #[test]
    fn replies_that_fit_give_one_an_id_and_any_other_an_error(replies in replies()) {
        if let Ok(items) = read_replies(&replies, is_get) {
            let items: Vec<_> = items.collect();
            prop_assert_eq!(items.len(), replies.ids.len());
            let bytes: usize = items.iter().filter_map(|(_, reply)| reply.value.as_ref()).map(|value| value.len()).sum();
            prop_assert_eq!(bytes, replies.values.len());
        }
    }

    #[test]
    fn log_entries_are_checked_before_they_are_used(mut entries in entries(), forged in any::<bool>()) {
        let honest = write_entries(&LogBatch { first: entries.first, effects: vec![Effect::Nothing] }).checksum;
        entries.checksum = honest;
        if forged {
            // Even with the right checksum, nothing but what fits is taken.
            if let Err(dstk_net::replicate::EntriesError::Checksum { found, .. }) = read_entries(&entries, KEY_LENGTH) {
                entries.checksum = found;
            }
        }
        if let Ok(effects) = read_entries(&entries, KEY_LENGTH) {
            prop_assert_eq!(effects.len(), entries.kinds.len());
        }
    }

    #[test]
    fn one_bit_flipped_in_log_entries_is_noticed(effects in vec(effect(), 1..10), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let message = write_entries(&LogBatch { first: 1, effects: effects.clone() });
        let mut bytes = message.encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(message) = LogEntries::decode(&bytes[..])
            && let Ok(read) = read_entries(&message, KEY_LENGTH)
        {
            // The flip hit something that protobuf ignores.
            prop_assert_eq!(read, effects);
        }
    }
}
