//! Which cluster a node belongs to.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::Node;
use super::refusal::Refusal;
use crate::disk::{DiskError, cluster};
use crate::sync::Mutex;

/// The cluster that the node's operator has named, for good: no node changes from one to another.
#[derive(Default)]
pub(super) struct Membership {
    cluster: OnceLock<Arc<str>>,
    /// Where it is written down; none: nowhere.
    dir: Option<PathBuf>,
    joining: Mutex<()>,
}

impl Membership {
    /// That of the data directory.
    pub(super) fn open(dir: &Path) -> Result<Self, DiskError> {
        let known = cluster::read(dir).map_err(|error| DiskError::Io {
            path: cluster::path(dir),
            error,
        })?;
        Ok(Self {
            cluster: known
                .map(|known| OnceLock::from(Arc::from(known)))
                .unwrap_or_default(),
            dir: Some(dir.into()),
            joining: Mutex::default(),
        })
    }
}

impl Node {
    /// The cluster that this node belongs to; none before an operator has named it.
    pub fn cluster(&self) -> Option<&Arc<str>> {
        self.membership.cluster.get()
    }

    /// Belongs to `cluster` from now on, also in later lives on its data directory.
    ///
    /// # Errors
    /// `Misdirected` when it belongs to another, `NotReady` when that cannot be written down.
    pub fn join(&self, cluster: &str) -> Result<(), Refusal> {
        let _one = self.membership.joining.lock();
        match self.cluster() {
            Some(mine) if **mine == *cluster => return Ok(()),
            Some(mine) => return Err(self.belongs_elsewhere(mine, cluster)),
            None => {}
        }
        if let Some(dir) = &self.membership.dir {
            cluster::write(dir, cluster).map_err(|error| {
                let path = cluster::path(dir);
                Refusal::NotReady(format!("{} cannot be written: {error}", path.display()))
            })?;
        }
        self.membership.cluster.get_or_init(|| cluster.into());
        Ok(())
    }

    fn belongs_elsewhere(&self, mine: &str, asked: &str) -> Refusal {
        let name = self.name();
        let what_to_do = match &self.membership.dir {
            Some(dir) => format!(
                "if {} came here on purpose and its rows are to be served here, remove {} and start the worker anew; \
                 if not, give it its own volume or an empty directory",
                dir.display(),
                cluster::path(dir).display()
            ),
            None => "each worker serves one cluster for as long as it runs".into(),
        };
        Refusal::Misdirected(format!(
            "worker {name} belongs to cluster {mine}, not to {asked}: {what_to_do}"
        ))
    }
}
