//! What a data directory holds: the last checkpoint, and the log after it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use parking_lot::Mutex;
use thiserror::Error;

use super::checkpoint::{Manifest, read_rows};
use super::record::{PartitionId, Record};
use super::segment::{Contents, Position, numbers, path};
use crate::frame::Reader;
use crate::key::{Bounds, readable};
use crate::partition::{Role, sequence_before};
use crate::snapshot::ChunkDecoder;
use crate::tree::{Tree, TreeBuilder};

/// Why a data directory cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The system says no.
    #[error("{path}: {error}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
    /// Another process has it open.
    #[error("{0} is in use by another process")]
    Busy(PathBuf),
    /// It is another worker's.
    #[error(
        "{dir} belongs to worker {found}, not {expected}: mount its own volume, or start with an empty one"
    )]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        found: String,
        /// Who asked.
        expected: String,
    },
    /// What it holds is damaged, not merely cut off at the end. Nothing of it is served.
    #[error("{dir} is damaged: {}", .found.join("; "))]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// What was found, a sentence each.
        found: Vec<String>,
    },
}

impl DiskError {
    pub(super) fn io(path: &Path, error: io::Error) -> Self {
        Self::Io {
            path: path.into(),
            error,
        }
    }
}

/// What is in a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Whose it is; empty before the first checkpoint.
    pub worker: String,
    /// Partitions that it holds.
    pub partitions: usize,
    /// Their rows.
    pub rows: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Files of the log.
    pub log_files: usize,
    /// Bytes of records after the last checkpoint.
    pub log_bytes: u64,
    /// Records after the last checkpoint.
    pub log_records: u64,
    /// Highest operator term.
    pub term: u64,
}

/// A partition that was found.
pub(crate) struct Held {
    pub(crate) id: PartitionId,
    pub(crate) keyspace: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) bounds: Arc<Bounds>,
    pub(crate) role: Role,
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
    pub(crate) peer: String,
    pub(crate) address: String,
    pub(crate) tree: Tree,
    /// The log before its first record that no checkpoint has.
    pub(crate) opened: Position,
    /// What the log says of it up to here is in it.
    pub(crate) position: Position,
    /// Of a follower: the range that is being loaded.
    loading: Option<(Bounds, TreeBuilder)>,
}

pub(super) struct Recovered {
    pub(super) held: Vec<Held>,
    pub(super) manifest: Manifest,
    pub(super) term: u64,
    pub(super) next_id: PartitionId,
    /// Where the log ends.
    pub(super) end: Position,
    /// The last segment's number.
    pub(super) number: u64,
    pub(super) segments: Segments,
    /// There is no checkpoint yet.
    pub(super) is_new: bool,
    records: u64,
}

/// The segments that are there.
#[derive(Default)]
pub(super) struct Segments {
    /// Those that are needed, oldest first, with the position each begins at.
    pub(super) positions: Vec<(u64, Position)>,
    /// Those that nothing needs any more.
    surplus: Vec<u64>,
    /// Bytes of the last one that are a part of the log.
    used: u64,
}

/// Reads a directory, changing nothing. `worker`: whose it has to be.
pub(super) fn recover(dir: &Path, worker: Option<&str>) -> Result<Recovered, DiskError> {
    let io = |error| DiskError::io(dir, error);
    let damaged = |found: Vec<String>| DiskError::Damaged {
        dir: dir.into(),
        found,
    };
    let read = Manifest::read(dir).map_err(io)?;
    let is_new = read.is_none();
    let manifest = match read {
        None => Manifest::default(),
        Some(manifest) => {
            manifest.map_err(|error| damaged(vec![format!("the checkpoint: {error}")]))?
        }
    };
    if let Some(expected) = worker
        && !manifest.worker.is_empty()
        && manifest.worker != expected
    {
        return Err(DiskError::Foreign {
            dir: dir.into(),
            found: manifest.worker,
            expected: expected.into(),
        });
    }
    let mut replay = Replay {
        held: load(dir, &manifest).map_err(damaged)?,
        manifest: &manifest,
        term: manifest.term,
        next_id: manifest.next_id,
        records: 0,
    };
    let numbers = numbers(dir).map_err(io)?;
    let mut segments = Segments::default();
    let mut end = manifest.from;
    let mut number = 0;
    for (at, &each) in numbers.iter().enumerate() {
        let tell = |text: String| damaged(vec![format!("{}: {text}", path(dir, each).display())]);
        let next = numbers
            .get(at + 1)
            .map(|next| Contents::read_first(dir, *next))
            .transpose()
            .map_err(io)?
            .flatten();
        number = each;
        if next.is_some_and(|next| next <= manifest.from) {
            segments.surplus.push(each);
            continue;
        }
        let contents = Contents::read(dir, each).map_err(io)?;
        let first = contents
            .first
            .ok_or_else(|| tell("its header is damaged".into()))?;
        if segments.positions.is_empty() && first > manifest.from {
            let from = manifest.from;
            return Err(tell(format!(
                "the log begins at {first} and is needed from {from} on: files are missing"
            )));
        }
        segments.positions.push((each, first));
        let mut blocks = contents.blocks();
        for (position, payload) in blocks.by_ref() {
            replay
                .block(position, payload)
                .map_err(|text| tell(format!("at {position}: {text}")))?;
        }
        end = blocks.next;
        segments.used = blocks.at as u64;
        match next {
            Some(next) if next != end => {
                return Err(tell(format!(
                    "the log breaks off at {end}; the next file begins at {next}: a block is damaged or a file is missing"
                )));
            }
            None if at + 1 < numbers.len() => {
                return Err(tell("the header of the file after it is damaged".into()));
            }
            None if blocks.something_follows() => {
                return Err(tell(format!(
                    "the block at {end} is damaged and others follow it"
                )));
            }
            _ => {}
        }
    }
    if end < manifest.from || (numbers.is_empty() && manifest.from > 0) {
        let from = manifest.from;
        return Err(damaged(vec![format!(
            "the log ends at {end}, before the checkpoint's {from}: files are missing"
        )]));
    }
    let (term, next_id, records) = (replay.term, replay.next_id, replay.records);
    let held = replay.finish().map_err(|text| damaged(vec![text]))?;
    Ok(Recovered {
        held,
        term,
        next_id,
        end,
        number,
        segments,
        is_new,
        records,
        manifest,
    })
}

/// Cuts a torn end off and removes what nothing needs.
pub(super) fn cut(dir: &Path, segments: &Segments) -> io::Result<()> {
    for number in &segments.surplus {
        std::fs::remove_file(path(dir, *number))?;
    }
    if let Some((number, _)) = segments.positions.last() {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(path(dir, *number))?;
        file.set_len(segments.used)?;
        file.sync_all()?;
    }
    Ok(())
}

/// Checks a data directory that no worker uses, changing nothing: every checksum, every count, every record.
///
/// # Errors
/// As for a worker that starts with it.
pub fn check(dir: &Path) -> Result<Report, DiskError> {
    if !dir.join("lock").exists() {
        let error = io::Error::new(io::ErrorKind::NotFound, "no worker's data directory");
        return Err(DiskError::io(dir, error));
    }
    let _lock = super::lock(dir)?;
    let recovered = recover(dir, None)?;
    Ok(Report {
        worker: recovered.manifest.worker,
        partitions: recovered.held.len(),
        rows: recovered.held.iter().map(|held| held.tree.rows()).sum(),
        bytes: recovered.held.iter().map(|held| held.tree.bytes()).sum(),
        log_files: recovered.segments.positions.len(),
        log_bytes: recovered.end - recovered.manifest.from,
        log_records: recovered.records,
        term: recovered.term,
    })
}

/// The partitions of the checkpoint, on all cores; or all that is wrong with them.
fn load(dir: &Path, manifest: &Manifest) -> Result<HashMap<PartitionId, Held>, Vec<String>> {
    let parts: Vec<_> = manifest.parts.iter().collect();
    let next = AtomicUsize::new(0);
    let loaded = Mutex::new((HashMap::new(), Vec::new()));
    let work = || {
        while let Some((id, saved)) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let tree = read_rows(dir, saved).and_then(|tree| Ok((tree, role(saved.role)?)));
            let mut loaded = loaded.lock();
            match tree {
                Err(text) => loaded.1.push(text),
                Ok((tree, role)) => {
                    let held = Held {
                        id: **id,
                        keyspace: Arc::clone(&saved.keyspace),
                        name: Arc::clone(&saved.name),
                        bounds: Arc::clone(&saved.bounds),
                        role,
                        epoch: saved.epoch,
                        sequence: saved.sequence,
                        peer: saved.peer.clone(),
                        address: saved.address.clone(),
                        tree,
                        opened: saved.position,
                        position: saved.position,
                        loading: None,
                    };
                    loaded.0.insert(**id, held);
                }
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        (1..threads.min(parts.len())).for_each(|_| drop(scope.spawn(work)));
        work();
    });
    let (held, mut wrong) = loaded.into_inner();
    wrong.sort();
    if wrong.is_empty() {
        Ok(held)
    } else {
        Err(wrong)
    }
}

fn role(number: u8) -> Result<Role, String> {
    let roles = [Role::Loading, Role::Following, Role::Primary, Role::Proxy];
    roles
        .into_iter()
        .find(|role| *role as u8 == number)
        .ok_or_else(|| format!("{number} is no role"))
}

/// Applies records, in order, to what the checkpoint had.
struct Replay<'a> {
    held: HashMap<PartitionId, Held>,
    manifest: &'a Manifest,
    term: u64,
    next_id: PartitionId,
    records: u64,
}

impl Replay<'_> {
    fn block(&mut self, position: Position, payload: &[u8]) -> Result<(), String> {
        let mut reader = Reader::new(payload);
        while reader.remaining() > 0 {
            let record = Record::decode(&mut reader).map_err(|error| error.to_string())?;
            let end = position + (payload.len() - reader.remaining()) as u64;
            if end > self.manifest.from {
                self.records += 1;
                self.apply(&record, end)?;
            }
        }
        Ok(())
    }

    fn apply(&mut self, record: &Record<'_>, end: Position) -> Result<(), String> {
        match record {
            Record::Term { term } => self.term = self.term.max(*term),
            Record::Open {
                id,
                keyspace,
                name,
                start,
                end: upper,
                role: number,
                epoch,
                sequence,
                peer,
            } => {
                self.next_id = self.next_id.max(id + 1);
                if self.is_past(*id) {
                    return Ok(());
                }
                let bounds = Bounds {
                    start: (*start).into(),
                    end: (!upper.is_empty()).then(|| (*upper).into()),
                };
                let held = Held {
                    id: *id,
                    keyspace: (*keyspace).into(),
                    name: (*name).into(),
                    role: role(*number)?,
                    epoch: *epoch,
                    sequence: *sequence,
                    peer: (*peer).into(),
                    address: String::new(),
                    tree: Tree::new(bounds.key_length()),
                    bounds: Arc::new(bounds),
                    opened: end - 1,
                    position: end,
                    loading: None,
                };
                if let Entry::Vacant(vacant) = self.held.entry(*id) {
                    vacant.insert(held);
                }
            }
            Record::Split {
                id,
                epoch,
                children,
            } => self.split(*id, *epoch, children, end)?,
            Record::Merge {
                parts,
                id,
                name,
                epoch,
                sequence,
            } => self.merge(parts, *id, name, *epoch, *sequence, end)?,
            Record::Gone { id } => {
                if self.part(*id, end)?.is_some() {
                    self.held.remove(id);
                }
            }
            Record::Put { id, .. }
            | Record::Delete { id, .. }
            | Record::Skip { id, .. }
            | Record::Turn { id, .. }
            | Record::DropRange { id, .. }
            | Record::Chunk { id, .. }
            | Record::Loaded { id, .. } => {
                if let Some(part) = self.part(*id, end)? {
                    let name = Arc::clone(&part.name);
                    part.apply(record)
                        .map_err(|text| format!("partition {name}: {text}"))?;
                    part.position = end;
                }
            }
        }
        Ok(())
    }

    /// Whether a partition that is not held had ended before the checkpoint.
    fn is_past(&self, id: PartitionId) -> bool {
        id < self.manifest.next_id && !self.manifest.fresh.contains(&id)
    }

    /// The partition that a record ending at `end` is for; none when the checkpoint has it already.
    fn part(&mut self, id: PartitionId, end: Position) -> Result<Option<&mut Held>, String> {
        let past = self.is_past(id);
        match self.held.get_mut(&id) {
            Some(part) => Ok((part.position < end).then_some(part)),
            None if past => Ok(None),
            None => Err(format!(
                "a record is of partition number {id}, which was never opened"
            )),
        }
    }

    fn split(
        &mut self,
        id: PartitionId,
        epoch: u64,
        children: &[(PartitionId, &str, &[u8])],
        end: Position,
    ) -> Result<(), String> {
        let highest = children.iter().map(|(child, ..)| child + 1).max();
        self.next_id = self.next_id.max(highest.unwrap_or(0));
        if self.part(id, end)?.is_none() {
            return Ok(());
        }
        let Some(mut parent) = self.held.remove(&id) else {
            return Ok(());
        };
        parent.finish_range()?;
        let mut rest = parent.tree;
        let mut upper = parent.bounds.end.clone();
        // From above: what is left below is the next child's.
        for (child, name, start) in children.iter().rev() {
            let tree = rest.split_off(start);
            let bounds = Bounds {
                start: (*start).into(),
                end: upper.replace((*start).into()),
            };
            let held = Held {
                id: *child,
                keyspace: Arc::clone(&parent.keyspace),
                name: (*name).into(),
                bounds: Arc::new(bounds),
                role: Role::Primary,
                epoch,
                sequence: parent.sequence,
                peer: String::new(),
                address: String::new(),
                tree,
                opened: end,
                position: end,
                loading: None,
            };
            self.held.insert(*child, held);
        }
        Ok(())
    }

    fn merge(
        &mut self,
        parts: &[PartitionId],
        id: PartitionId,
        name: &str,
        epoch: u64,
        sequence: u64,
        end: Position,
    ) -> Result<(), String> {
        self.next_id = self.next_id.max(id + 1);
        let mut found = Vec::with_capacity(parts.len());
        for part in parts {
            if self.part(*part, end)?.is_some() {
                found.extend(self.held.remove(part));
            }
        }
        let (Some(first), Some(last)) = (found.first(), found.last()) else {
            return Ok(());
        };
        if found.len() < parts.len() {
            return Err(format!(
                "of the parts of {name} only {} are there",
                found.len()
            ));
        }
        let bounds = Bounds {
            start: first.bounds.start.clone(),
            end: last.bounds.end.clone(),
        };
        let keyspace = Arc::clone(&first.keyspace);
        let mut tree = Tree::new(bounds.key_length());
        for part in found {
            tree = Tree::join(tree, part.tree).map_err(|error| error.to_string())?;
        }
        let held = Held {
            id,
            keyspace,
            name: name.into(),
            bounds: Arc::new(bounds),
            role: Role::Primary,
            epoch,
            sequence,
            peer: String::new(),
            address: String::new(),
            tree,
            opened: end,
            position: end,
            loading: None,
        };
        self.held.insert(id, held);
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Held>, String> {
        self.held.values_mut().try_for_each(Held::finish_range)?;
        let mut held: Vec<_> = self.held.into_values().collect();
        held.sort_by_key(|held| held.id);
        Ok(held)
    }
}

impl Held {
    fn apply(&mut self, record: &Record<'_>) -> Result<(), String> {
        match record {
            Record::Put {
                sequence,
                key,
                value,
                ..
            } => {
                self.next(*sequence)?;
                self.check(key)?;
                self.tree.insert(key, (*value).into(), *sequence);
            }
            Record::Delete { sequence, key, .. } => {
                self.next(*sequence)?;
                self.tree.remove(key);
            }
            Record::Skip { sequence, .. } => self.next(*sequence)?,
            Record::Turn {
                role: number,
                epoch,
                peer,
                address,
                ..
            } => {
                self.finish_range()?;
                let role = role(*number)?;
                if (self.role, role) == (Role::Primary, Role::Primary) {
                    self.sequence = self.sequence.max(sequence_before(*epoch));
                }
                (self.role, self.epoch) = (role, *epoch);
                (self.peer, self.address) = ((*peer).into(), (*address).into());
                if self.role == Role::Proxy {
                    self.tree = Tree::new(self.bounds.key_length());
                }
            }
            Record::DropRange { start, end, .. } => {
                self.finish_range()?;
                let key_length = self.bounds.key_length();
                let bounds = Bounds {
                    start: (*start).into(),
                    end: (!end.is_empty()).then(|| (*end).into()),
                };
                self.tree
                    .replace_range(&bounds.start, bounds.end(), Tree::new(key_length))
                    .map_err(|error| error.to_string())?;
                self.role = Role::Loading;
                self.loading = Some((bounds, TreeBuilder::new(key_length)));
            }
            Record::Chunk { chunk, .. } => {
                let mut decoder = ChunkDecoder::new(self.bounds.key_length());
                let chunk = decoder.decode(chunk).map_err(|error| error.to_string())?;
                let (_, builder) = self
                    .loading
                    .as_mut()
                    .ok_or("rows came before the range that they belong to")?;
                chunk
                    .append_to(builder)
                    .map_err(|error| error.to_string())?;
            }
            Record::Loaded {
                sequence, digest, ..
            } => {
                self.finish_range()?;
                let found = self.tree.digest();
                if found != *digest {
                    return Err(format!(
                        "a copy came out with digest {found:016x}, not {digest:016x}"
                    ));
                }
                (self.role, self.sequence) = (Role::Following, *sequence);
            }
            Record::Open { .. }
            | Record::Gone { .. }
            | Record::Split { .. }
            | Record::Merge { .. }
            | Record::Term { .. } => {}
        }
        Ok(())
    }

    fn next(&mut self, sequence: u64) -> Result<(), String> {
        if sequence != self.sequence + 1 {
            return Err(format!("write {sequence} comes after {}", self.sequence));
        }
        self.sequence = sequence;
        Ok(())
    }

    fn check(&self, key: &[u8]) -> Result<(), String> {
        if key.len() == self.bounds.key_length() && self.bounds.contains(key) {
            return Ok(());
        }
        Err(format!("key {} is not in {}", readable(key), self.bounds))
    }

    fn finish_range(&mut self) -> Result<(), String> {
        let Some((bounds, rows)) = self.loading.take() else {
            return Ok(());
        };
        self.tree
            .replace_range(&bounds.start, bounds.end(), rows.finish())
            .map(drop)
            .map_err(|error| error.to_string())
    }
}
