//! The routing table on the wire and in the core.

use dstk_core::node::{KeyspaceRoutes, Loss, Route, RoutesUpdate};
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
        losses: keyspace
            .losses
            .map(|all| all.losses.into_iter().map(loss).collect()),
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

/// A range whose rows were lost.
pub fn loss(loss: wire::Loss) -> Loss {
    Loss {
        partition: loss.partition,
        start: loss.start.into(),
        end: loss.end.into(),
        since_ms: loss.since_ms,
        reason: loss.reason,
        held: loss.held,
    }
}

fn wire_loss(loss: &Loss) -> wire::Loss {
    wire::Loss {
        partition: loss.partition.clone(),
        start: loss.start.clone().into(),
        end: loss.end.clone().into(),
        since_ms: loss.since_ms,
        reason: loss.reason.clone(),
        held: loss.held,
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
        losses: routes.losses.map(|losses| wire::Losses {
            losses: losses.iter().map(wire_loss).collect(),
        }),
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
