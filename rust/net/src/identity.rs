//! Who is meant and who answers: the cluster and the worker at both ends of a call, in its metadata.
//!
//! An address is no identity: pods' addresses and ports pass from one cluster to another. So a call says whom it means
//! when it is opened, and the answer who gives it, before any row is touched; on a stream no operation costs anything.
//! What an end does not know it does not say, and what is not said is not checked: versions before said nothing.

use std::sync::{Arc, OnceLock};

use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::{Request, Response, Status};

use crate::connection::status_text;

const CLUSTER: &str = "dstk-cluster";
const WORKER: &str = "dstk-worker";

/// A worker of a cluster, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Who {
    /// The cluster's identity.
    pub cluster: Option<Arc<str>>,
    /// The worker's name.
    pub worker: Option<Arc<str>>,
}

impl Who {
    /// Whom a call says that it means, or who says that it answers.
    pub fn read(metadata: &MetadataMap) -> Self {
        let said = |name: &str| {
            let text = metadata.get(name)?.to_str().ok()?;
            (!text.is_empty()).then(|| text.into())
        };
        Self {
            cluster: said(CLUSTER),
            worker: said(WORKER),
        }
    }

    /// Says so. A name that metadata cannot carry is not said.
    pub fn write(&self, metadata: &mut MetadataMap) {
        for (name, text) in [(CLUSTER, &self.cluster), (WORKER, &self.worker)] {
            let value = text.as_deref().map(MetadataValue::<Ascii>::try_from);
            if let Some(Ok(value)) = value {
                metadata.insert(name, value);
            }
        }
    }

    /// Why `found` is not who is meant by this; none: it is, as far as both are known.
    fn differs(&self, found: &Self) -> Option<String> {
        let name = found
            .worker
            .as_ref()
            .map_or("a worker".into(), |name| format!("worker {name}"));
        if let (Some(meant), Some(other)) = (&self.cluster, &found.cluster)
            && meant != other
        {
            return Some(format!(
                "{name} of another cluster ({other}), not of {meant}"
            ));
        }
        match (&self.worker, &found.worker) {
            (Some(meant), Some(other)) if meant != other => Some(format!("{name}, not {meant}")),
            _ => None,
        }
    }
}

/// The cluster that callers of this process belong to, or mean, once it is known.
#[derive(Debug, Default)]
pub struct Home {
    cluster: OnceLock<Arc<str>>,
    /// Whether it is that of the first worker that answers.
    first: bool,
}

impl Home {
    /// A worker's, which its operator names.
    pub fn of_worker(cluster: Option<&Arc<str>>) -> Self {
        let home = Self::default();
        if let Some(cluster) = cluster {
            home.set(cluster);
        }
        home
    }

    /// A client's: `cluster`, or if that is empty, that of the first worker that answers.
    pub fn of_client(cluster: &str) -> Self {
        let home = Self {
            first: true,
            ..Self::default()
        };
        if !cluster.is_empty() {
            home.set(cluster);
        }
        home
    }

    /// It is this one, for good, unless it is known already.
    pub fn set(&self, cluster: &str) {
        self.cluster.get_or_init(|| cluster.into());
    }

    /// The cluster, once it is known.
    pub fn cluster(&self) -> Option<&Arc<str>> {
        self.cluster.get()
    }

    /// A request that is meant for that worker of the cluster; none: for any.
    pub fn ask<T>(&self, message: T, worker: Option<&Arc<str>>) -> Request<T> {
        let mut request = Request::new(message);
        self.meant(worker).write(request.metadata_mut());
        request
    }

    /// Whether the worker at `address` that answered with `metadata` is the one that was meant; why not.
    pub fn check(
        &self,
        address: &str,
        worker: Option<&Arc<str>>,
        metadata: &MetadataMap,
    ) -> Result<Who, Arc<str>> {
        let found = Who::read(metadata);
        if self.first
            && let Some(cluster) = &found.cluster
        {
            self.set(cluster);
        }
        match self.meant(worker).differs(&found) {
            None => Ok(found),
            Some(who) => Err(format!("{address} is {who}").into()),
        }
    }

    /// The answer of the worker at `address`, if it is the one that was meant; else why there is none.
    pub fn answer<T>(
        &self,
        address: &str,
        worker: Option<&Arc<str>>,
        answer: Result<Response<T>, Status>,
    ) -> Result<T, Failed> {
        match answer {
            Ok(answer) => {
                let checked = self.check(address, worker, answer.metadata());
                checked.map_err(Failed::Stranger)?;
                Ok(answer.into_inner())
            }
            Err(status) => Err(self.refused(address, worker, status)),
        }
    }

    /// Why a call that ended with `status` has no answer.
    pub fn refused(&self, address: &str, worker: Option<&Arc<str>>, status: Status) -> Failed {
        let found = Who::read(status.metadata());
        match self.meant(worker).differs(&found) {
            Some(who) => Failed::Stranger(format!("{address} is {who}").into()),
            None => Failed::Status(status),
        }
    }

    fn meant(&self, worker: Option<&Arc<str>>) -> Who {
        Who {
            cluster: self.cluster().cloned(),
            worker: worker.cloned(),
        }
    }
}

/// Why a call has no answer.
#[derive(Debug)]
pub enum Failed {
    /// Another worker than the one that was meant is at the address: nothing was done.
    Stranger(Arc<str>),
    /// What the worker, or the network, says.
    Status(Status),
}

impl Failed {
    /// As a person reads it; `address` is where the call went.
    pub fn text(&self, address: &str) -> String {
        match self {
            Self::Stranger(text) => text.to_string(),
            Self::Status(status) => format!("{address}: {}", status_text(status)),
        }
    }
}

/// The worker that answers calls.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its cluster.
    pub home: Arc<Home>,
    /// Its name.
    pub name: Arc<str>,
}

impl Host {
    /// Lets a call in, unless it is meant for somebody else.
    pub fn admit(&self, metadata: &MetadataMap) -> Result<Admission, Status> {
        let joined = self.home.cluster().is_some();
        let (meant, me) = (Who::read(metadata), self.who());
        match meant.differs(&me) {
            None => Ok(Admission {
                home: Arc::clone(&self.home),
                joined,
            }),
            Some(text) => {
                let mut status =
                    Status::failed_precondition(format!("this is {text}: look it up anew"));
                me.write(status.metadata_mut());
                Err(status)
            }
        }
    }

    /// A response that says who gives it.
    pub fn respond<T>(&self, message: T) -> Response<T> {
        let mut response = Response::new(message);
        self.who().write(response.metadata_mut());
        response
    }

    fn who(&self) -> Who {
        Who {
            cluster: self.home.cluster().cloned(),
            worker: Some(Arc::clone(&self.name)),
        }
    }
}

/// A call that was let in.
#[derive(Debug)]
pub struct Admission {
    home: Arc<Home>,
    joined: bool,
}

impl Admission {
    /// Whether the worker has joined a cluster since: the call could not be checked when it came, and has to be opened
    /// anew.
    pub fn is_stale(&self) -> bool {
        !self.joined && self.home.cluster().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(cluster: &str, worker: &str) -> Who {
        let known = |text: &str| (!text.is_empty()).then(|| Arc::from(text));
        Who {
            cluster: known(cluster),
            worker: known(worker),
        }
    }

    #[test]
    fn what_both_say_has_to_be_the_same() {
        let is_meant = |meant: (&str, &str), found: (&str, &str)| {
            who(meant.0, meant.1)
                .differs(&who(found.0, found.1))
                .is_none()
        };
        for (meant, found, fits) in [
            (("a", "w0"), ("a", "w0"), true),
            (("a", "w0"), ("b", "w0"), false),
            (("a", "w0"), ("a", "w1"), false),
            (("a", ""), ("a", "w1"), true),
            (("", "w0"), ("b", "w0"), true),
            (("a", "w0"), ("", "w0"), true),
            (("a", "w0"), ("", "w1"), false),
            (("", ""), ("b", "w1"), true),
            (("a", "w0"), ("", ""), true),
        ] {
            assert_eq!(is_meant(meant, found), fits, "{meant:?} {found:?}");
        }
    }

    #[test]
    fn what_is_said_is_read() {
        for said in [who("a", "w0"), who("", "w0"), who("a", ""), who("", "")] {
            let mut metadata = MetadataMap::new();
            said.write(&mut metadata);
            assert_eq!(Who::read(&metadata), said);
        }
    }

    #[test]
    fn a_client_means_the_cluster_of_the_first_that_answers_and_a_worker_does_not() {
        let mut answer = MetadataMap::new();
        who("a", "w0").write(&mut answer);
        for (home, means) in [
            (Home::of_client(""), Some("a")),
            (Home::of_client("a"), Some("a")),
            (Home::of_worker(None), None),
        ] {
            assert!(home.check("host:1", None, &answer).is_ok());
            assert_eq!(home.cluster().map(|cluster| &**cluster), means);
        }
        let text = Home::of_client("b").check("host:1", None, &answer);
        assert_eq!(
            &*text.unwrap_err(),
            "host:1 is worker w0 of another cluster (a), not of b"
        );
    }

    #[test]
    fn what_came_before_the_worker_joined_is_stale() {
        let host = Host {
            home: Arc::new(Home::of_worker(None)),
            name: "w0".into(),
        };
        let before = host.admit(&MetadataMap::new()).unwrap();
        assert!(!before.is_stale());
        host.home.set("a");
        assert!(before.is_stale());
        assert!(!host.admit(&MetadataMap::new()).unwrap().is_stale());
    }
}
