//! The checksummed frame around what is sent or stored in pieces: tag, body, xxh3.
//!
//! `tag: 4 bytes | body | xxh3_64 of all before: 8 bytes`; every number is little-endian.

use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

pub(crate) const TAG_BYTES: usize = 4;
pub(crate) const CHECKSUM_BYTES: usize = 8;

/// What a frame adds to its body, in bytes.
pub(crate) const OVERHEAD_BYTES: usize = TAG_BYTES + CHECKSUM_BYTES;

/// What can be wrong with a frame.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Fewer bytes than it says, or than any frame has.
    #[error("the data ends after {have} bytes where {need} more were expected: it was cut off")]
    Truncated {
        /// Bytes that were left.
        have: usize,
        /// Bytes that were needed.
        need: usize,
    },
    /// More bytes than it says.
    #[error("{0} bytes follow the end of the data")]
    TrailingBytes(usize),
    /// Another kind of data, or another version of the format.
    #[error("the data starts with {found:02x?}, not {expected:02x?}: another kind or version")]
    WrongTag {
        /// The first bytes.
        found: [u8; 4],
        /// The tag of the expected kind.
        expected: [u8; 4],
    },
    /// The checksum does not match.
    #[error("checksum is {found:016x}, the data's is {computed:016x}: it was damaged")]
    Checksum {
        /// What the frame carries.
        found: u64,
        /// What its bytes give.
        computed: u64,
    },
}

/// Starts a frame; `capacity` is what the body is expected to take, in bytes.
pub(crate) fn begin(tag: [u8; 4], capacity: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(capacity + OVERHEAD_BYTES);
    frame.extend_from_slice(&tag);
    frame
}

/// Ends a frame with its checksum.
pub(crate) fn seal(mut frame: Vec<u8>) -> Vec<u8> {
    let checksum = xxh3_64(&frame);
    frame.extend_from_slice(&checksum.to_le_bytes());
    frame
}

/// Checks tag and checksum and gives the body to read.
pub(crate) fn open(frame: &[u8], tag: [u8; 4]) -> Result<Reader<'_>, FrameError> {
    if frame.len() < OVERHEAD_BYTES {
        return Err(FrameError::Truncated {
            have: frame.len(),
            need: OVERHEAD_BYTES,
        });
    }
    let (signed, checksum) = frame.split_at(frame.len() - CHECKSUM_BYTES);
    let mut body = Reader(signed);
    let found = body.array()?;
    if found != tag {
        return Err(FrameError::WrongTag {
            found,
            expected: tag,
        });
    }
    let (found, computed) = (Reader(checksum).u64()?, xxh3_64(signed));
    if found != computed {
        return Err(FrameError::Checksum { found, computed });
    }
    Ok(body)
}

/// Reads numbers and slices off the front of a body, never past its end.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self(body)
    }

    /// All that is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], FrameError> {
        let truncated = FrameError::Truncated {
            have: self.0.len(),
            need: count,
        };
        let (taken, rest) = self.0.split_at_checked(count).ok_or(truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FrameError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, FrameError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FrameError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FrameError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn remaining(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn finish(self) -> Result<(), FrameError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(FrameError::TrailingBytes(self.0.len()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: [u8; 4] = *b"test";

    fn sample() -> Vec<u8> {
        let mut frame = begin(TAG, 8);
        frame.extend_from_slice(&7u64.to_le_bytes());
        seal(frame)
    }

    #[test]
    fn what_was_sealed_opens() {
        let frame = sample();
        let mut body = open(&frame, TAG).unwrap();
        assert_eq!(body.u64(), Ok(7));
        assert_eq!(body.u8(), Err(FrameError::Truncated { have: 0, need: 1 }));
        assert_eq!(body.finish(), Ok(()));
    }

    #[test]
    fn every_damaged_byte_and_every_cut_is_found() {
        let frame = sample();
        for at in 0..frame.len() {
            let mut damaged = frame.clone();
            damaged[at] ^= 1;
            assert!(open(&damaged, TAG).is_err(), "byte {at}");
            assert!(open(&frame[..at], TAG).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn bytes_after_the_end_are_refused() {
        let frame = sample();
        let mut body = open(&frame, TAG).unwrap();
        body.u32().unwrap();
        assert_eq!(body.remaining(), 4);
        assert_eq!(body.finish(), Err(FrameError::TrailingBytes(4)));
    }
}
