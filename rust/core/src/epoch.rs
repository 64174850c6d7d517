//! What an epoch says about sequences.

/// The sequence that a range begins with when it is served from empty in `epoch`, and goes on from when it is confirmed
/// in it: above all that earlier epochs gave out, whose rows may be lost while clients still hold their versions. An
/// epoch has 2^40 numbers, which are twelve days of a million writes a second, for each epoch that went by.
pub(crate) fn sequence_before(epoch: u64) -> u64 {
    const NUMBERS: u64 = 1 << 40;
    const EPOCHS: u64 = 1 << 23;
    epoch.saturating_sub(1).min(EPOCHS) * NUMBERS
}
