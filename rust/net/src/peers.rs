//! Connections of a worker to other workers, one an address, over which it passes on what it does not serve.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::connection::{Call, Connection};
use crate::identity::Home;
use crate::settings::ConnectionSettings;

/// How long a connection that broke is left as it is, so that a dead peer is not called for every operation.
const REST: Duration = Duration::from_millis(100);

/// Connections by address; made when they are first needed, and again after they broke.
pub struct Peers<C: Call> {
    connections: Mutex<HashMap<Arc<str>, Peer<C>>>,
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
            connections: Mutex::default(),
            settings,
            runtime,
            home,
        }
    }

    /// The cluster that is meant.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The connection to `address`, new if there was none or it broke a while ago.
    pub fn connection(&self, address: &Arc<str>) -> Connection<C> {
        let mut connections = self.connections.lock();
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
        self.connections.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets connections that broke a while ago. Those that live go on, whoever is said to be gone: what is under way
    /// on them is answered, or ends when they break.
    pub fn forget_broken(&self) {
        let live = |peer: &Peer<C>| !peer.connection.is_closed() || peer.opened.elapsed() < REST;
        self.connections.lock().retain(|_, peer| live(peer));
    }

    /// Closes all connections.
    pub fn close(&self) {
        self.connections.lock().clear();
    }
}
