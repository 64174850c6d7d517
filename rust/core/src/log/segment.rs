//! A sealed piece of the log: in memory, then in a file that has no name and is gone with the segment.
//!
//! In the file: one checksummed frame, `count: u32 | count × (kind: u8 | key length: u16 | value length: u32 | key |
//! value)`.

use std::fs::File;
use std::io;
use std::sync::Arc;

use thiserror::Error;

use super::Effect;
use crate::frame::{self, FrameError};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

const TAG: [u8; 4] = *b"dkl1";
const PUT: u8 = 1;
const DELETE: u8 = 2;
const NOTHING: u8 = 3;

/// Why a segment could not be read back.
#[derive(Debug, Error)]
pub(crate) enum SegmentError {
    #[error("the spilled log cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("the spilled log is damaged: {0}")]
    Frame(#[from] FrameError),
    #[error("the spilled log is damaged: {0} is no kind of entry")]
    Kind(u8),
}

enum Body {
    Memory(Arc<Vec<Effect>>),
    File { file: Arc<File>, length: usize },
}

/// Consecutive entries that are not changed any more.
pub(crate) struct Segment {
    first: u64,
    count: u64,
    bytes: u64,
    body: Mutex<Body>,
    /// The log's count of bytes that are sealed and still in memory.
    unwritten: Arc<AtomicU64>,
}

impl Segment {
    pub(super) fn new(
        first: u64,
        effects: Vec<Effect>,
        bytes: u64,
        unwritten: Arc<AtomicU64>,
    ) -> Self {
        let count = effects.len() as u64;
        let body = Mutex::new(Body::Memory(Arc::new(effects)));
        Self {
            first,
            count,
            bytes,
            body,
            unwritten,
        }
    }

    /// Sequence after its last entry.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.count
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The entries from sequence `from` on. Reads a file: not to be called under a partition's lock.
    pub(crate) fn load(&self, from: u64) -> Result<Vec<Effect>, SegmentError> {
        let skip = from.saturating_sub(self.first) as usize;
        let (file, length) = match &*self.body.lock() {
            Body::Memory(effects) => return Ok(effects.iter().skip(skip).cloned().collect()),
            Body::File { file, length } => (Arc::clone(file), *length),
        };
        let mut bytes = vec![0; length];
        std::os::unix::fs::FileExt::read_exact_at(&*file, &mut bytes, 0)?;
        let mut effects = decode(&bytes)?;
        effects.drain(..skip.min(effects.len()));
        Ok(effects)
    }

    /// Moves the entries into the file that `create` makes; in memory they stay until that is done.
    pub(super) fn write(&self, create: impl FnOnce() -> io::Result<File>) -> io::Result<()> {
        let effects = match &*self.body.lock() {
            Body::Memory(effects) => Arc::clone(effects),
            Body::File { .. } => return Ok(()),
        };
        let bytes = encode(&effects);
        let file = create()?;
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0)?;
        let (file, length) = (Arc::new(file), bytes.len());
        *self.body.lock() = Body::File { file, length };
        self.unwritten.fetch_sub(self.bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if let Body::Memory(_) = self.body.get_mut() {
            self.unwritten.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

fn encode(effects: &[Effect]) -> Vec<u8> {
    let capacity = effects.iter().map(Effect::cost).sum::<u64>() as usize;
    let mut bytes = frame::begin(TAG, capacity);
    bytes.extend_from_slice(&(effects.len() as u32).to_le_bytes());
    for effect in effects {
        let (kind, key, value): (u8, &[u8], &[u8]) = match effect {
            Effect::Put { key, value } => (PUT, key, value),
            Effect::Delete { key } => (DELETE, key, &[]),
            Effect::Nothing => (NOTHING, &[], &[]),
        };
        bytes.push(kind);
        bytes.extend_from_slice(&(key.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
    }
    frame::seal(bytes)
}

fn decode(bytes: &[u8]) -> Result<Vec<Effect>, SegmentError> {
    let mut body = frame::open(bytes, TAG)?;
    let count = body.u32()? as usize;
    let mut effects = Vec::with_capacity(count.min(bytes.len()));
    for _ in 0..count {
        let kind = body.u8()?;
        let (key, value) = (usize::from(body.u16()?), body.u32()? as usize);
        let (key, value) = (body.bytes(key)?.into(), body.bytes(value)?);
        effects.push(match kind {
            PUT => Effect::Put {
                key,
                value: value.into(),
            },
            DELETE => Effect::Delete { key },
            NOTHING => Effect::Nothing,
            other => return Err(SegmentError::Kind(other)),
        });
    }
    body.finish()?;
    Ok(effects)
}
