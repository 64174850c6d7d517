//! Checkpoints: the rows of every partition in a file of its own, and one manifest that names them.
//!
//! `checkpoint` is one checksummed frame; it is replaced by a rename, so it is the old one or the new one. A file of rows
//! is snapshot chunks, each after its length; what it has to add up to is in the manifest. A partition whose rows have
//! not changed keeps its file. What happened before a partition's `position` is in its file, what comes after is in the
//! log, which is kept from the lowest position that is still needed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::description::Description;
use super::record::{PartitionId, RecordError, Writer, text};
use super::segment::{Position, sync_dir};
use super::wal::Wal;
use crate::faults::{Point, reach};
use crate::frame::{self, Reader};
use crate::snapshot::{ChunkDecoder, ChunkEncoder, MAX_CHUNK_BYTES};
use crate::sync::Mutex;
use crate::tree::{Tree, TreeBuilder, drop_in_background};

const TAG: [u8; 4] = *b"dkm1";
const NAME: &str = "checkpoint";
const NEW_NAME: &str = "checkpoint.new";
const ROWS_PREFIX: &str = "rows-";

/// Written bytes after which they are made to last: a big file would hold up the log's fsyncs.
const SYNC_BYTES: usize = 8 << 20;

/// What a checkpoint says of the whole directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) worker: String,
    pub(super) term: u64,
    /// Ids from here on were given out later.
    pub(super) next_id: PartitionId,
    /// The log is needed from here on.
    pub(super) from: Position,
    pub(super) parts: BTreeMap<PartitionId, Saved>,
    /// Partitions that are in the log alone.
    pub(super) fresh: BTreeSet<PartitionId>,
}

/// A partition as a checkpoint has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) about: Description,
    /// What the log says of it up to here is in it.
    pub(super) position: Position,
    pub(super) rows: u64,
    pub(super) digest: u64,
    /// Number of its file; none: it has no rows.
    pub(super) file: Option<u64>,
}

impl Manifest {
    /// Of a directory that holds nothing.
    pub(super) fn of(worker: &str) -> Self {
        Self {
            worker: worker.into(),
            ..Self::default()
        }
    }

    /// The directory's; none where no checkpoint was made yet.
    pub(super) fn read(dir: &Path) -> io::Result<Option<Result<Self, RecordError>>> {
        match fs::read(dir.join(NAME)) {
            Ok(bytes) => Ok(Some(Self::decode(&bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = frame::begin(TAG, 64 + 128 * self.parts.len());
        let mut out = Writer(&mut bytes);
        out.short(self.worker.as_bytes()).u64(self.term);
        out.u64(self.next_id).u64(self.from);
        out.count(self.parts.len());
        for (id, part) in &self.parts {
            out.u64(*id);
            part.about.encode(&mut out);
            out.u64(part.position).u64(part.rows).u64(part.digest);
            out.u64(part.file.map_or(0, |file| file + 1));
        }
        out.count(self.fresh.len());
        for id in &self.fresh {
            out.u64(*id);
        }
        frame::seal(bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut body = frame::open(bytes, TAG)?;
        let worker = text(&mut body)?.into();
        let (term, next_id, from) = (body.u64()?, body.u64()?, body.u64()?);
        let count = body.u32()?;
        let parts = (0..count)
            .map(|_| Ok((body.u64()?, saved(&mut body)?)))
            .collect::<Result<_, RecordError>>()?;
        let count = body.u32()?;
        let fresh = (0..count).map(|_| body.u64()).collect::<Result<_, _>>()?;
        body.finish()?;
        Ok(Self {
            worker,
            term,
            next_id,
            from,
            parts,
            fresh,
        })
    }

    /// Puts it in its place, in a directory that holds nothing yet.
    pub(super) fn begin(&self, dir: &Path) -> io::Result<()> {
        self.write(dir)?;
        Self::replace(dir)
    }

    /// Writes it beside the one that counts.
    fn write(&self, dir: &Path) -> io::Result<()> {
        let mut file = File::create(dir.join(NEW_NAME))?;
        file.write_all(&self.encode())?;
        file.sync_all()?;
        reach(Point::AfterManifestWrite, "")
    }

    /// Has the one that was written last count. When this fails, either may.
    fn replace(dir: &Path) -> io::Result<()> {
        fs::rename(dir.join(NEW_NAME), dir.join(NAME))?;
        sync_dir(dir)?;
        reach(Point::AfterManifestRename, "")
    }
}

fn saved(body: &mut Reader<'_>) -> Result<Saved, RecordError> {
    Ok(Saved {
        about: Description::decode(body)?,
        position: body.u64()?,
        rows: body.u64()?,
        digest: body.u64()?,
        file: body.u64()?.checked_sub(1),
    })
}

/// A partition as it is to be saved.
pub(crate) struct CheckpointPart {
    pub(crate) id: PartitionId,
    pub(crate) about: Description,
    pub(crate) tree: Tree,
    /// The log before its first record.
    pub(crate) opened: Position,
    /// The log after the last of its records that is in this.
    pub(crate) position: Position,
    /// The same of those that changed rows.
    pub(crate) rows_changed: Position,
    /// Rows are on their way that are not in the tree yet: it stays as it was saved before.
    pub(crate) loading: bool,
}

/// Makes checkpoints of one directory.
pub(crate) struct Checkpointer {
    dir: PathBuf,
    worker: String,
    wal: Arc<Wal>,
    due_bytes: u64,
    state: Mutex<State>,
}

struct State {
    manifest: Manifest,
    next_file: u64,
    /// Bytes of rows in the last checkpoint.
    bytes: u64,
    /// The log when it was made.
    at: Position,
}

impl Checkpointer {
    pub(super) fn new(
        dir: &Path,
        worker: &str,
        wal: Arc<Wal>,
        due_bytes: u64,
        manifest: Manifest,
    ) -> Self {
        let files = manifest.parts.values().filter_map(|part| part.file);
        let next_file = files.max().map_or(0, |file| file + 1);
        let at = manifest.from;
        Self {
            dir: dir.into(),
            worker: worker.into(),
            wal,
            due_bytes,
            state: Mutex::new(State {
                manifest,
                next_file,
                bytes: 0,
                at,
            }),
        }
    }

    /// Whether the log has grown enough for another checkpoint: by a bound, and by half of what a checkpoint writes; or
    /// at all, where there is no room for more of it.
    pub(crate) fn is_due(&self) -> bool {
        let state = self.state.lock();
        let grown = self.wal.durable().saturating_sub(state.at);
        grown >= self.due_bytes.max(state.bytes / 2) || (grown > 0 && self.wal.is_short())
    }

    /// Saves what `parts` say, and lets go of the log before that. `next_id` is from the same moment.
    pub(crate) fn save(
        &self,
        parts: Vec<CheckpointPart>,
        next_id: PartitionId,
        term: u64,
        now: Position,
    ) -> io::Result<()> {
        // What is saved has to be what would be found again: it must not be ahead of the log.
        let last = parts.iter().map(|part| part.position).max().unwrap_or(0);
        self.wal
            .wait(last.max(now))
            .map_err(|reason| io::Error::other(reason.to_string()))?;
        let mut state = self.state.lock();
        if let Some(reason) = self.wal.failure() {
            return Err(io::Error::other(reason.to_string()));
        }
        let written = self.write(&mut state, parts, next_id, term, now);
        let (manifest, bytes) = written.inspect_err(|_| {
            // What was written for nothing takes room that may be wanting.
            remove_all_but(&self.dir, &state.manifest);
        })?;
        // Which manifest counts is not known when this fails: only a new start may remove what the other names.
        Manifest::replace(&self.dir).inspect_err(|error| {
            self.wal.fail(&format!("{}: {error}", self.dir.display()));
        })?;
        self.wal.trim(manifest.from);
        (state.manifest, state.bytes, state.at) = (manifest, bytes, now);
        reach(Point::AfterLogTrim, "")?;
        remove_all_but(&self.dir, &state.manifest);
        Ok(())
    }

    /// All of a checkpoint, beside the one before it, which still counts; and the bytes of its rows.
    fn write(
        &self,
        state: &mut State,
        parts: Vec<CheckpointPart>,
        next_id: PartitionId,
        term: u64,
        now: Position,
    ) -> io::Result<(Manifest, u64)> {
        reach(Point::BeforeCheckpoint, "")?;
        let mut manifest = Manifest {
            worker: self.worker.clone(),
            term,
            next_id,
            from: now,
            ..Manifest::default()
        };
        let mut bytes = 0;
        for part in parts {
            if part.loading {
                match state.manifest.parts.get(&part.id) {
                    Some(before) => {
                        manifest.from = manifest.from.min(before.position);
                        manifest.parts.insert(part.id, before.clone());
                    }
                    None => {
                        manifest.from = manifest.from.min(part.opened);
                        manifest.fresh.insert(part.id);
                    }
                }
                continue;
            }
            bytes += part.tree.bytes();
            let total = part.tree.total();
            let before = state.manifest.parts.get(&part.id);
            // A proxy has let go of its rows without a record that changed them.
            let unchanged = before.filter(|before| {
                before.position >= part.rows_changed
                    && (before.rows, before.digest) == (total.rows, total.digest)
            });
            let file = match unchanged {
                Some(before) => before.file,
                None if part.tree.is_empty() => None,
                None => {
                    let file = state.next_file;
                    state.next_file += 1;
                    write_rows(&rows_path(&self.dir, file), &part.tree)?;
                    reach(Point::AfterCheckpointRows, &part.about.name)?;
                    Some(file)
                }
            };
            let saved = Saved {
                about: part.about,
                position: part.position,
                rows: total.rows,
                digest: total.digest,
                file,
            };
            manifest.parts.insert(part.id, saved);
            drop_in_background(part.tree);
        }
        sync_dir(&self.dir)?;
        manifest.write(&self.dir)?;
        Ok((manifest, bytes))
    }
}

fn rows_path(dir: &Path, file: u64) -> PathBuf {
    dir.join(format!("{ROWS_PREFIX}{file:012}"))
}

fn write_rows(path: &Path, rows: &Tree) -> io::Result<()> {
    let written = write_chunks(path, rows);
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}

fn write_chunks(path: &Path, rows: &Tree) -> io::Result<()> {
    let mut file = File::create(path)?;
    let mut encoder = ChunkEncoder::new(rows.clone(), &[], None);
    let mut unsynced = 0;
    while let Some(chunk) = encoder.next() {
        file.write_all(&(chunk.len() as u32).to_le_bytes())?;
        file.write_all(&chunk)?;
        unsynced += chunk.len();
        if unsynced >= SYNC_BYTES {
            file.sync_data()?;
            unsynced = 0;
        }
    }
    file.sync_all()
}

/// The rows of a saved partition.
///
/// # Errors
/// What does not add up, or cannot be read.
pub(super) fn read_rows(dir: &Path, part: &Saved) -> Result<Tree, String> {
    let key_length = part.about.bounds.key_length();
    let Some(file) = part.file else {
        return Ok(Tree::new(key_length));
    };
    let path = rows_path(dir, file);
    let tell = |text: String| {
        format!(
            "{}: rows of partition {}: {text}",
            path.display(),
            part.about.name
        )
    };
    let file = File::open(&path).map_err(|error| tell(error.to_string()))?;
    let mut reader = BufReader::new(file);
    let mut decoder = ChunkDecoder::new(key_length);
    let mut builder = TreeBuilder::new(key_length);
    let mut chunk = Vec::new();
    while next_chunk(&mut reader, &mut chunk).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            tell("the file was cut off in the middle of a chunk".into())
        }
        _ => tell(error.to_string()),
    })? {
        let rows = decoder
            .decode(&chunk)
            .map_err(|error| tell(error.to_string()))?;
        rows.append_to(&mut builder)
            .map_err(|error| tell(error.to_string()))?;
    }
    let tree = builder.finish();
    let total = tree.total();
    if (total.rows, total.digest) != (part.rows, part.digest) {
        return Err(tell(format!(
            "{} rows with digest {:016x}; the checkpoint says {} with {:016x}",
            total.rows, total.digest, part.rows, part.digest
        )));
    }
    Ok(tree)
}

/// Reads the next chunk, of which no more is read than the biggest one has and a byte; `false` at the file's end.
fn next_chunk(reader: &mut impl BufRead, chunk: &mut Vec<u8>) -> io::Result<bool> {
    if reader.fill_buf()?.is_empty() {
        return Ok(false);
    }
    let mut length = [0; 4];
    reader.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    chunk.resize(length.min(MAX_CHUNK_BYTES + 1), 0);
    reader.read_exact(chunk)?;
    Ok(true)
}

/// Removes files of rows that the manifest does not name. One that cannot be removed now is tried again another time.
pub(super) fn remove_all_but(dir: &Path, manifest: &Manifest) {
    let kept: HashSet<PathBuf> = manifest
        .parts
        .values()
        .filter_map(|part| part.file)
        .map(|file| rows_path(dir, file))
        .collect();
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let rows = name
            .to_str()
            .is_some_and(|name| name.starts_with(ROWS_PREFIX) || name == NEW_NAME);
        if rows && !kept.contains(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
