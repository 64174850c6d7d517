//! A file of the write-ahead log: a header, then blocks of records.
//!
//! Header, 40 bytes: `tag | version: u32 | number: u64 | position of its first record: u64 | salt: u64 | xxh3 of all
//! before`. A block: `tag | payload bytes: u32 | position of its first record: u64 | xxh3 of salt, header and payload: u64 |
//! payload`, and zeros up to a multiple of eight. The salt is another one in each file: what a value holds, a copy of a log
//! for instance, is never taken for a block. A position counts bytes of records since the directory was made. A block is
//! written only when the one before it is on disk, so whatever a crash tears is the last; and as every block says where
//! in the log it belongs, what a file held in an earlier use is never taken for a part of it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::faults::{Point, reach};
use crate::frame::Reader;

pub use crate::partition::Position;

const FILE_TAG: [u8; 4] = *b"dkw1";
const BLOCK_TAG: [u8; 4] = *b"dkb1";
const VERSION: u32 = 1;
const FILE_HEADER_BYTES: usize = 40;

/// What a block adds to its records, in bytes; room for it is left at the front of every block.
pub(super) const BLOCK_HEADER_BYTES: usize = 24;

/// The longest block that is read: a chunk of a snapshot and what is around it fits.
const MAX_BLOCK_BYTES: usize = 16 << 20;

const ALIGN: u64 = 8;

/// The file that is written to.
pub(super) struct Segment {
    file: File,
    at: u64,
    capacity: u64,
    salt: u64,
    /// Under the model checker files hold what was synced alone: what a crash leaves at the least.
    #[cfg(feature = "shuttle")]
    unsynced: Vec<(u64, Vec<u8>)>,
}

impl Segment {
    /// Makes `prepared`, a file of `capacity` bytes that are on disk already, number `number` of the log.
    pub(super) fn begin(
        dir: &Path,
        prepared: &Path,
        number: u64,
        first: Position,
        capacity: u64,
        salt: u64,
    ) -> io::Result<Self> {
        let salt = salt ^ xxh3_64(&[number.to_le_bytes(), first.to_le_bytes()].concat());
        let file = OpenOptions::new().read(true).write(true).open(prepared)?;
        let mut header = Vec::with_capacity(FILE_HEADER_BYTES);
        header.extend_from_slice(&FILE_TAG);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&number.to_le_bytes());
        header.extend_from_slice(&first.to_le_bytes());
        header.extend_from_slice(&salt.to_le_bytes());
        let checksum = xxh3_64(&header);
        header.extend_from_slice(&checksum.to_le_bytes());
        file.write_all_at(&header, 0)?;
        file.sync_data()?;
        reach(Point::AfterLogHeader, "")?;
        std::fs::rename(prepared, path(dir, number))?;
        sync_dir(dir)?;
        Ok(Self {
            file,
            at: FILE_HEADER_BYTES as u64,
            capacity,
            salt,
            #[cfg(feature = "shuttle")]
            unsynced: Vec::new(),
        })
    }

    /// Whether a block of so many bytes still goes in.
    pub(super) fn fits(&self, block: usize) -> bool {
        self.at + block as u64 <= self.capacity
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> u64 {
        self.capacity.saturating_sub(self.at)
    }

    /// Writes a block whose first [`BLOCK_HEADER_BYTES`] are free; it is on disk after [`sync`](Self::sync).
    pub(super) fn write(&mut self, block: &mut [u8], first: Position) -> io::Result<()> {
        seal(block, first, self.salt);
        #[cfg(feature = "shuttle")]
        self.unsynced.push((self.at, block.to_vec()));
        #[cfg(not(feature = "shuttle"))]
        self.file.write_all_at(block, self.at)?;
        self.at = (self.at + block.len() as u64).next_multiple_of(ALIGN);
        Ok(())
    }

    /// Writes half of a block.
    pub(super) fn tear(&mut self, block: &mut [u8], first: Position) -> io::Result<()> {
        seal(block, first, self.salt);
        self.file.write_all_at(&block[..block.len() / 2], self.at)
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        #[cfg(feature = "shuttle")]
        {
            // An fsync takes its time: others go on meanwhile.
            crate::sync::thread::yield_now();
            for (at, block) in self.unsynced.drain(..) {
                self.file.write_all_at(&block, at)?;
            }
        }
        self.file.sync_data()
    }
}

fn seal(block: &mut [u8], first: Position, salt: u64) {
    let bytes = (block.len() - BLOCK_HEADER_BYTES) as u32;
    block[..4].copy_from_slice(&BLOCK_TAG);
    block[4..8].copy_from_slice(&bytes.to_le_bytes());
    block[8..16].copy_from_slice(&first.to_le_bytes());
    let checksum = checksum(salt, &block[..16], &block[BLOCK_HEADER_BYTES..]);
    block[16..BLOCK_HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

fn checksum(salt: u64, header: &[u8], payload: &[u8]) -> u64 {
    let mut hash = Xxh3::with_seed(salt);
    hash.update(header);
    hash.update(payload);
    hash.digest()
}

/// The block at the front of `bytes` if it is whole and begins at `first` (none: anywhere): its first position and its
/// records.
fn block(bytes: &[u8], first: Option<Position>, salt: u64) -> Option<(Position, &[u8])> {
    let mut header = Reader::new(bytes);
    if header.bytes(4).ok()? != BLOCK_TAG {
        return None;
    }
    let (length, found) = (header.u32().ok()? as usize, header.u64().ok()?);
    if first.is_some_and(|first| first != found) || length > MAX_BLOCK_BYTES {
        return None;
    }
    let expected = header.u64().ok()?;
    let payload = header.bytes(length).ok()?;
    (checksum(salt, &bytes[..16], payload) == expected).then_some((found, payload))
}

/// Where the segment of that number is.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("log-{number:012}"))
}

/// The numbers of the segments in a directory, ascending.
pub(super) fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number: Option<u64> = name
            .to_str()
            .and_then(|name| name.strip_prefix("log-"))
            .and_then(|number| number.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes what was created, renamed or removed in a directory last.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// A segment as it is read back.
pub(super) struct Contents {
    bytes: Vec<u8>,
    /// Position of its first record; none when its header is damaged.
    pub(super) first: Option<Position>,
    salt: u64,
}

impl Contents {
    pub(super) fn read(dir: &Path, number: u64) -> io::Result<Self> {
        let bytes = std::fs::read(path(dir, number))?;
        let header = header(&bytes, number);
        Ok(Self {
            bytes,
            first: header.map(|(first, _)| first),
            salt: header.map_or(0, |(_, salt)| salt),
        })
    }

    /// Position of the first record of a segment; none when its header is damaged.
    pub(super) fn read_first(dir: &Path, number: u64) -> io::Result<Option<Position>> {
        let mut bytes = Vec::new();
        let file = File::open(path(dir, number))?;
        file.take(FILE_HEADER_BYTES as u64)
            .read_to_end(&mut bytes)?;
        Ok(header(&bytes, number).map(|(first, _)| first))
    }

    /// The blocks one after the other: the position of each and its records. Ends at the first that is not whole.
    pub(super) fn blocks(&self) -> Blocks<'_> {
        Blocks {
            bytes: &self.bytes,
            at: FILE_HEADER_BYTES,
            next: self.first.unwrap_or_default(),
            salt: self.salt,
        }
    }
}

/// Position of the first record, and the salt.
fn header(bytes: &[u8], number: u64) -> Option<(Position, u64)> {
    let mut header = Reader::new(bytes.get(..FILE_HEADER_BYTES)?);
    let tag = header.bytes(4).ok()? == FILE_TAG && header.u32().ok()? == VERSION;
    let same = header.u64().ok()? == number;
    let (first, salt) = (header.u64().ok()?, header.u64().ok()?);
    let whole = header.u64().ok()? == xxh3_64(&bytes[..FILE_HEADER_BYTES - 8]);
    (tag && same && whole).then_some((first, salt))
}

pub(super) struct Blocks<'a> {
    bytes: &'a [u8],
    /// Where in the file the next block begins.
    pub(super) at: usize,
    /// The position that the next block has to have.
    pub(super) next: Position,
    salt: u64,
}

impl<'a> Blocks<'a> {
    /// Whether a whole block of a later position follows somewhere after the place where reading has ended: then what
    /// is there is not a torn end but damage.
    pub(super) fn something_follows(&self) -> bool {
        let mut at = self.at;
        while let Some(rest) = self
            .bytes
            .get(at..)
            .filter(|rest| rest.len() > BLOCK_HEADER_BYTES)
        {
            if rest.starts_with(&BLOCK_TAG)
                && block(rest, None, self.salt).is_some_and(|(first, _)| first > self.next)
            {
                return true;
            }
            at += ALIGN as usize;
        }
        false
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = (Position, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (first, payload) = block(self.bytes.get(self.at..)?, Some(self.next), self.salt)?;
        let end = self.at + BLOCK_HEADER_BYTES + payload.len();
        self.at = end.next_multiple_of(ALIGN as usize);
        self.next = first + payload.len() as u64;
        Some((first, payload))
    }
}
