//! The routing table on the wire and in the core.

use dstk_core::node::{KeyspaceRoutes, Route, RoutesUpdate};
use prost::Message;

use crate::wire;

/// What a serialized `dstk.v1.RoutesUpdate` says.
pub fn decode(bytes: &[u8]) -> Result<RoutesUpdate, prost::DecodeError> {
    wire::RoutesUpdate::decode(bytes).map(from_wire)
}

/// The same in plain data.
pub fn from_wire(update: wire::RoutesUpdate) -> RoutesUpdate {
    let keyspaces = update.keyspaces.into_iter().map(|keyspace| KeyspaceRoutes {
        keyspace: keyspace.keyspace,
        key_length: keyspace.key_length as usize,
        routes: keyspace.routes.into_iter().map(route).collect(),
        withdrawn: keyspace
            .withdrawn
            .into_iter()
            .map(|gone| (gone.partition, gone.epoch))
            .collect(),
    });
    RoutesUpdate {
        full: update.full,
        keyspaces: keyspaces.collect(),
        workers: update
            .workers
            .into_iter()
            .map(|worker| (worker.worker, worker.address))
            .collect(),
    }
}

fn route(route: wire::Route) -> Route {
    Route {
        partition: route.partition,
        start: route.start.into(),
        end: route.end.into(),
        epoch: route.epoch,
        owner: route.owner,
    }
}

/// As it is sent: of `keyspace` only, unless that is empty.
pub fn to_wire(update: RoutesUpdate, keyspace: &str) -> wire::RoutesUpdate {
    let wanted = update
        .keyspaces
        .into_iter()
        .filter(|routes| keyspace.is_empty() || routes.keyspace == keyspace);
    let keyspaces = wanted.map(|routes| wire::KeyspaceRoutes {
        keyspace: routes.keyspace,
        key_length: routes.key_length as u32,
        routes: routes.routes.into_iter().map(wire_route).collect(),
        withdrawn: routes
            .withdrawn
            .into_iter()
            .map(|(partition, epoch)| wire::Withdrawal { partition, epoch })
            .collect(),
    });
    wire::RoutesUpdate {
        full: update.full,
        keyspaces: keyspaces.collect(),
        workers: update
            .workers
            .into_iter()
            .map(|(worker, address)| wire::WorkerAddress { worker, address })
            .collect(),
    }
}

fn wire_route(route: Route) -> wire::Route {
    wire::Route {
        partition: route.partition,
        start: route.start.into(),
        end: route.end.into(),
        epoch: route.epoch,
        owner: route.owner,
    }
}
