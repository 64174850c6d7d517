//! Connections of a worker to other workers, one an address, over which it passes on what it does not serve.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::connection::{Call, Cause, Connection, Open};
use crate::identity::Home;
use crate::settings::ConnectionSettings;

/// How long a connection that broke is left as it is, so that a dead peer is not called for every operation.
const REST: Duration = Duration::from_millis(100);

/// Connections by address; made when they are first needed, and again after they broke.
pub struct Peers<C: Call> {
    /// None once they are closed.
    connections: Mutex<Option<HashMap<Arc<str>, Peer<C>>>>,
    settings: ConnectionSettings,
    runtime: Handle,
    home: Arc<Home>,
}

struct Peer<C: Call> {
    connection: Connection<C>,
    opened: Instant,
}

impl<C: Call> Peers<C> {
    /// Connections to workers of the cluster that `home` names, whose tasks run on `runtime`.
    pub fn new(settings: ConnectionSettings, runtime: Handle, home: Arc<Home>) -> Self {
        Self {
            connections: Mutex::new(Some(HashMap::new())),
            settings,
            runtime,
            home,
        }
    }

    /// The cluster that is meant.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The connection to `address`, new if there was none or it broke a while ago; one that is closed once all are.
    pub fn connection(&self, address: &Arc<str>) -> Connection<C> {
        let mut connections = self.connections.lock();
        let Some(connections) = &mut *connections else {
            return Connection::closed(address, &self.settings, &self.home, Cause::Closed);
        };
        if let Some(peer) = connections.get(address)
            && (!peer.connection.is_closed() || peer.opened.elapsed() < REST)
        {
            return peer.connection.clone();
        }
        let connection = Connection::open(address, &self.settings, &self.runtime, &self.home);
        let peer = Peer {
            connection: connection.clone(),
            opened: Instant::now(),
        };
        connections.insert(Arc::clone(address), peer);
        connection
    }

    /// Number of connections, broken ones included.
    pub fn len(&self) -> usize {
        self.connections.lock().as_ref().map_or(0, HashMap::len)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets connections that broke a while ago. Those that live go on, whoever is said to be gone: what is under way
    /// on them is answered, or ends when they break.
    pub fn forget_broken(&self) {
        let live = |peer: &Peer<C>| !peer.connection.is_closed() || peer.opened.elapsed() < REST;
        if let Some(connections) = &mut *self.connections.lock() {
            connections.retain(|_, peer| live(peer));
        }
    }

    /// What is under way on all of them.
    pub fn under_way(&self) -> Open {
        let mut all = Open::default();
        for peer in self.connections.lock().iter().flat_map(HashMap::values) {
            all += peer.connection.under_way();
        }
        all
    }

    /// Closes all connections, for good: see [`Connection::close`].
    pub fn close(&self, until: Instant) {
        for peer in self
            .connections
            .lock()
            .take()
            .iter()
            .flat_map(HashMap::values)
        {
            peer.connection.close(until);
        }
    }
}
