//! Log entries as they come from a source, with checksums that fit: nothing panics, and what is taken can be sent again.

#![no_main]

use dstk_core::log::{Effect, LogBatch};
use dstk_fuzz::{KEY_LENGTHS, write_seeds};
use dstk_net::replicate::{EntriesError, read_entries, write_entries};
use dstk_net::wire::LogEntries;
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(init: write_seeds("replicate_entries", seeds()), |data: &[u8]| {
    let Some((&choice, rest)) = data.split_first() else {
        return;
    };
    let key_length = KEY_LENGTHS[usize::from(choice) % 4];
    let Ok(mut message) = LogEntries::decode(rest) else {
        return;
    };
    if let Err(EntriesError::Checksum { found, .. }) = read_entries(&message, key_length) {
        message.checksum = found;
    }
    let Ok(effects) = read_entries(&message, key_length) else {
        return;
    };
    assert_eq!(effects.len(), message.kinds.len());
    let again = write_entries(&LogBatch { first: message.first, effects: effects.clone() });
    assert_eq!(again, message);
});

fn seeds() -> Vec<Vec<u8>> {
    let seed = |(choice, key_length): (u8, usize)| {
        let key = || vec![7; key_length].into();
        let effects = vec![
            Effect::Put {
                key: key(),
                value: b"value".as_slice().into(),
            },
            Effect::Nothing,
            Effect::Delete { key: key() },
            Effect::Put {
                key: key(),
                value: b"".as_slice().into(),
            },
        ];
        [
            vec![choice],
            write_entries(&LogBatch { first: 9, effects }).encode_to_vec(),
        ]
        .concat()
    };
    (0..).zip(KEY_LENGTHS).map(seed).collect()
}
