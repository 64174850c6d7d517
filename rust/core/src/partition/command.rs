//! What a partition is told, and what happens to it by itself.

use crate::key::Bounds;

/// One step of a partition: the operator's commands first, then what happens by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Command<'a> {
    /// Go on as primary. A higher epoch than the one held confirms it.
    Serve {
        epoch: u64,
        bounds: &'a Bounds,
        durable: bool,
    },
    /// Copy from a source, whose epoch is given.
    Follow {
        epoch: u64,
        bounds: &'a Bounds,
        durable: bool,
        source: Source<'a>,
        /// Bytes that the rows take, which are kept free; 0: not known.
        size: u64,
        /// The number of the stream, if one has to be started.
        generation: u64,
    },
    /// Hold new requests. The token is granted once.
    Fence { epoch: u64, token: u64 },
    /// Carry out what was held, where the fence is of this token or an earlier one. Token 0 lifts none.
    Unfence { epoch: u64, token: u64 },
    /// Whether there is anything to wait for before this sequence is applied.
    AwaitApplied { epoch: u64, sequence: u64 },
    /// Become primary, with exactly this applied.
    Promote {
        epoch: u64,
        sequence: u64,
        digest: u64,
    },
    /// Stop being primary, and pass requests on.
    Proxy {
        epoch: u64,
        to: &'a str,
        address: &'a str,
    },
    /// Be forgotten: of a proxy.
    Release { epoch: u64 },
    /// Be forgotten: of one that loads or follows.
    Drop { epoch: u64 },
    /// Be ready to be split or merged, in the epoch that it has.
    Reshape { epoch: u64 },
    /// Others have taken its place: how.
    Replaced { how: &'static str },
    /// The lease has run out.
    Lapse,
    /// The source begins a snapshot: bytes that it sends, and what all rows take.
    Begin { bytes_to_send: u64, size: u64 },
    /// The snapshot is complete: what the source says that it is.
    Loaded {
        sequence: u64,
        rows: u64,
        digest: u64,
    },
    /// Writes of the source come, the first with this sequence.
    Entries { first: u64 },
    /// Where the source is, and whether it is fenced.
    Heard { sequence: u64, fenced: bool },
    /// The stream has ended: why.
    Failed { why: &'a str },
    /// The copy has to end, for its room is taken: by what.
    YieldRoom { why: &'a str },
}

/// Which worker is followed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) name: &'a str,
    /// Its data address.
    pub(crate) address: &'a str,
    /// Which of its lives is meant.
    pub(crate) incarnation: &'a str,
}
