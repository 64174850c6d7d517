//! Which directory this is, and which lives have used it.
//!
//! A copy of a directory that is put back looks like the directory itself: every checksum holds. Only somebody who
//! remembers what the directory had come to can tell. What it is to be recognized by is in the file `identity`, written
//! and made to last before anything is served: two places of 4 KiB, each a length and a checksummed frame, which are
//! written in turn. So a start that is cut off leaves the other one, and a full disk has room for it.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::error::DiskError;
use super::record::{RecordError, Writer, text};
use super::segment::{Position, sync_dir};
use crate::frame::{self, Reader};

const TAG: [u8; 4] = *b"dki1";
const NAME: &str = "identity";

/// Bytes of each of the two places.
const PLACE: usize = 4096;

/// Bytes of the length in front of a frame.
const LENGTH: usize = 4;

/// Lives that are remembered. What is older is told from a copy by the number of starts and the log alone.
const LIVES: usize = 32;

/// Who used the directory so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Identity {
    /// The life that made it.
    directory: String,
    /// How often it was opened.
    starts: u64,
    /// The last lives, this one at the end.
    lives: Vec<String>,
}

/// A data directory as this life of its worker found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The life that made the directory: no two directories have the same.
    pub directory: String,
    /// How often it was opened, this time included.
    pub starts: u64,
    /// The lives that used it, this one last; of many the last 32.
    pub lives: Vec<String>,
    /// Where its log ended when this life began.
    pub began: Position,
}

impl Identity {
    /// What the directory says; none where no life has said anything yet.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, DiskError> {
        let path = dir.join(NAME);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DiskError::io(&path, error)),
        };
        let said = bytes
            .chunks(PLACE)
            .filter(|place| place.iter().any(|byte| *byte != 0));
        let said: Vec<Result<Self, RecordError>> = said.map(Self::read_place).collect();
        let latest = said.iter().filter_map(|each| each.as_ref().ok());
        let latest = latest.max_by_key(|each| each.starts).cloned();
        match (latest, said.into_iter().find_map(Result::err)) {
            (None, Some(error)) => Err(DiskError::Damaged {
                dir: dir.into(),
                found: vec![format!("{}: {error}", path.display())],
            }),
            (latest, _) => Ok(latest),
        }
    }

    fn read_place(place: &[u8]) -> Result<Self, RecordError> {
        let mut head = Reader::new(place);
        let length = head.u32()? as usize;
        Self::decode(head.bytes(length)?)
    }

    /// Notes that the life of that incarnation has begun, so that it lasts, in a directory whose log ends at `began`.
    pub(super) fn begin(
        dir: &Path,
        incarnation: &str,
        began: Position,
    ) -> Result<Origin, DiskError> {
        // What is before the slash is the pod, which may live several times.
        let life = incarnation.rsplit('/').next().unwrap_or_default();
        let mut known = Self::read(dir)?.unwrap_or_default();
        if known.directory.is_empty() {
            known.directory = life.into();
        }
        known.starts += 1;
        known.lives.push(life.into());
        while known.lives.len() > LIVES || LENGTH + known.encode().len() > PLACE {
            known.lives.remove(0);
        }
        known
            .write(dir)
            .map_err(|error| DiskError::io(dir, error))?;
        Ok(Origin {
            directory: known.directory,
            starts: known.starts,
            lives: known.lives,
            began,
        })
    }

    fn write(&self, dir: &Path) -> io::Result<()> {
        let frame = self.encode();
        let mut place = vec![0; PLACE];
        place[..LENGTH].copy_from_slice(&(frame.len() as u32).to_le_bytes());
        place[LENGTH..LENGTH + frame.len()].copy_from_slice(&frame);
        let path = dir.join(NAME);
        let mut options = OpenOptions::new();
        let file = options
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        if file.metadata()?.len() < 2 * PLACE as u64 {
            // Zeros that are written, not a hole: both places are there from then on.
            file.write_all_at(&[0; 2 * PLACE], 0)?;
        }
        file.write_all_at(&place, (self.starts % 2) * PLACE as u64)?;
        file.sync_all()?;
        sync_dir(dir)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = frame::begin(TAG, 64 * (self.lives.len() + 1));
        let mut out = Writer(&mut bytes);
        out.short(self.directory.as_bytes()).u64(self.starts);
        out.count(self.lives.len());
        for life in &self.lives {
            out.short(life.as_bytes());
        }
        frame::seal(bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut body = frame::open(bytes, TAG)?;
        let directory = text(&mut body)?.into();
        let starts = body.u64()?;
        let count = body.u32()?;
        let lives = (0..count)
            .map(|_| Ok(text(&mut body)?.into()))
            .collect::<Result<_, RecordError>>()?;
        body.finish()?;
        Ok(Self {
            directory,
            starts,
            lives,
        })
    }
}
