//! Which cluster a data directory belongs to: a file of one line, so that a person can read it and take it away.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::segment::sync_dir;

const NAME: &str = "cluster";
const NEW_NAME: &str = "cluster.new";

/// The file in `dir` that names its cluster.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

/// The cluster that `dir` belongs to; none before a worker there has joined one.
pub(crate) fn read(dir: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path(dir)) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|name| !name.is_empty())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Has `dir` belong to `cluster`; on disk when this returns.
pub(crate) fn write(dir: &Path, cluster: &str) -> io::Result<()> {
    let mut file = File::create(dir.join(NEW_NAME))?;
    writeln!(file, "{cluster}")?;
    file.sync_all()?;
    fs::rename(dir.join(NEW_NAME), path(dir))?;
    sync_dir(dir)
}
