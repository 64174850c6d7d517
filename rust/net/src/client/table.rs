//! A client's routing table: pushed by a worker, and corrected by hints.

use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use dstk_core::index::IndexError;
use dstk_core::node::Loss;
use dstk_core::routing::{Entry, RoutingTable};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};
use tonic::{Code as StatusCode, Status, Streaming};

use super::{Inner, backoff};
use crate::codec::hint_covers;
use crate::connection::{Call, Cause, status_text};
use crate::error::ClientError;
use crate::identity::Failed;
use crate::peers::Peers;
use crate::settings::ClientSettings;
use crate::wire::{Hint, Route, RoutesRequest, RoutesUpdate};

/// How long one worker may take for its routing table before another is asked.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// The table as it is now; readers never wait.
pub(super) struct Table {
    now: ArcSwap<RoutingTable>,
    /// Ranges whose rows were lost, in the order of keys.
    losses: ArcSwap<Vec<Loss>>,
    /// Held while a new version is made.
    change: Mutex<()>,
}

impl Table {
    fn new(key_length: usize) -> Result<Self, IndexError> {
        Ok(Self {
            now: ArcSwap::from_pointee(RoutingTable::new(key_length)?),
            losses: ArcSwap::default(),
            change: Mutex::new(()),
        })
    }

    pub(super) fn now(&self) -> Arc<RoutingTable> {
        self.now.load_full()
    }

    /// Ranges whose rows were lost, and nobody has accepted that.
    pub(super) fn losses(&self) -> Arc<Vec<Loss>> {
        self.losses.load_full()
    }

    /// The loss because of which nothing of `key` is served.
    pub(super) fn held_loss(&self, key: &[u8]) -> Option<Loss> {
        let losses = self.losses.load();
        let after = losses.partition_point(|loss| *loss.start <= *key);
        let loss = losses.get(after.checked_sub(1)?)?;
        let inside = loss.end.is_empty() || *key < *loss.end;
        (inside && loss.held).then(|| loss.clone())
    }

    pub(super) fn key_length(&self) -> usize {
        self.now.load().key_length()
    }

    fn change<T>(&self, change: impl FnOnce(&mut RoutingTable) -> T) -> T {
        let _one = self.change.lock();
        let mut table = RoutingTable::clone(&self.now.load());
        let result = change(&mut table);
        self.now.store(Arc::new(table));
        result
    }

    /// Takes in where `key` lives, if one of `hints` says so; whether that was news.
    pub(super) fn learn(&self, hints: &[Hint], key: &[u8]) -> bool {
        let Some(hint) = hints.iter().find(|hint| hint_covers(hint, key)) else {
            return false;
        };
        let Some(route) = &hint.route else {
            return false;
        };
        let table = self.now.load();
        let known = table.lookup(key).is_some_and(|entry| {
            entry.epoch > route.epoch
                || (entry.epoch == route.epoch && *entry.owner == *route.owner)
        });
        let address_known = table
            .address(&route.owner)
            .is_some_and(|address| **address == *hint.address);
        if known && address_known || hint.address.is_empty() {
            return false;
        }
        self.change(|table| {
            let moved = table.set_worker(&route.owner, &hint.address);
            // A hint that makes no sense is no news; the worker passes on what comes to it all the same.
            table.apply(entry(route)).unwrap_or(false) || moved
        })
    }

    /// Takes in what a worker pushed.
    fn take(&self, update: RoutesUpdate, keyspace: &str) -> Result<(), IndexError> {
        let routes = update
            .keyspaces
            .iter()
            .find(|routes| routes.keyspace == keyspace);
        if let Some(losses) = routes.and_then(|routes| routes.losses.as_ref()) {
            let losses = losses.losses.iter().cloned().map(crate::routes::loss);
            self.losses.store(Arc::new(losses.collect()));
        }
        self.change(|table| {
            for worker in &update.workers {
                if worker.address.is_empty() {
                    table.remove_worker(&worker.worker);
                } else {
                    table.set_worker(&worker.worker, &worker.address);
                }
            }
            if update.full {
                let listed =
                    |name: &str| update.workers.iter().any(|worker| *worker.worker == *name);
                let gone: Vec<_> = table
                    .addresses()
                    .keys()
                    .filter(|name| !listed(name))
                    .cloned()
                    .collect();
                gone.iter().for_each(|name| _ = table.remove_worker(name));
                let entries = routes
                    .into_iter()
                    .flat_map(|routes| &routes.routes)
                    .map(entry);
                return table.replace_all(entries).map(|_| ());
            }
            // Before the routes: a partition that lost a part of its range comes as withdrawn, and then with the rest.
            for gone in routes.into_iter().flat_map(|routes| &routes.withdrawn) {
                table.withdraw(&gone.partition, gone.epoch);
            }
            for route in routes.into_iter().flat_map(|routes| &routes.routes) {
                table.apply(entry(route))?;
            }
            Ok(())
        })
    }
}

fn entry(route: &Route) -> Entry {
    Entry {
        partition: route.partition.as_str().into(),
        start: route.start[..].into(),
        end: (!route.end.is_empty()).then(|| route.end[..].into()),
        epoch: route.epoch,
        owner: route.owner.as_str().into(),
    }
}

/// A stream of updates that has begun with the whole table.
pub(super) struct Updates(Streaming<RoutesUpdate>);

/// Asks one address after the other for the table until one gives it.
pub(super) async fn fetch<C: Call>(
    peers: &Peers<C>,
    addresses: &[Arc<str>],
    keyspace: &str,
    settings: &ClientSettings,
    deadline: Instant,
) -> Result<(Table, Updates), ClientError> {
    let mut tries = 0;
    loop {
        let mut reason = String::new();
        for address in addresses {
            let until = deadline.min(Instant::now() + FETCH_TIMEOUT);
            let (update, updates) = match open(peers, address, keyspace, until).await {
                Ok(opened) => opened,
                Err(Refused::NoKeyspace(text)) => return Err(ClientError::UnknownKeyspace(text)),
                Err(Refused::Other(text)) => {
                    reason = text;
                    continue;
                }
            };
            let Some(routes) = update
                .keyspaces
                .iter()
                .find(|routes| routes.keyspace == keyspace)
            else {
                reason = format!("{address} sent no key length for keyspace {keyspace:?}");
                continue;
            };
            let key_length = routes.key_length as usize;
            let table = Table::new(key_length)
                .and_then(|table| table.take(update, keyspace).map(|()| table));
            match table {
                Ok(table) => return Ok((table, updates)),
                Err(error) => reason = format!("{address} sent routes that cannot be: {error}"),
            }
        }
        tries += 1;
        let pause = backoff(
            settings.backoff,
            settings.backoff_limit,
            tries,
            fastrand::f64(),
        );
        if Instant::now() + pause >= deadline {
            let addresses = addresses.join(", ");
            let seconds = settings.timeout.as_secs_f64();
            return Err(ClientError::Unavailable(format!(
                "no answer from {addresses} within {seconds} s: {reason}"
            )));
        }
        tokio::time::sleep(pause).await;
    }
}

enum Refused {
    NoKeyspace(String),
    Other(String),
}

async fn open<C: Call>(
    peers: &Peers<C>,
    address: &Arc<str>,
    keyspace: &str,
    until: Instant,
) -> Result<(RoutesUpdate, Updates), Refused> {
    let status = |status: Status| match status.code() {
        StatusCode::NotFound => Refused::NoKeyspace(status_text(&status)),
        _ => Refused::Other(format!("{address}: {}", status_text(&status))),
    };
    let connection = peers.connection(address);
    let ask = async {
        let mut client = connection.client().await.map_err(|cause| match cause {
            Cause::Broken(reason) | Cause::Stranger(reason) => Refused::Other(reason.to_string()),
            cause => Refused::Other(format!("{address}: {cause:?}")),
        })?;
        // A table of 100,000 partitions with keys of 1 KiB is 200 MB: what it takes is up to the keyspace.
        client = client.max_decoding_message_size(usize::MAX);
        let request = RoutesRequest {
            keyspace: keyspace.into(),
        };
        let home = peers.home();
        let answer = client.routes(home.ask(request, None)).await;
        let mut updates = match home.answer(address, None, answer) {
            Ok(updates) => updates,
            Err(Failed::Status(refusal)) => return Err(status(refusal)),
            Err(failed) => return Err(Refused::Other(failed.text(address))),
        };
        let first = updates.message().await.map_err(status)?;
        let first =
            first.ok_or_else(|| Refused::Other(format!("{address} ended the stream of routes")))?;
        Ok((first, Updates(updates)))
    };
    timeout_at(until, ask)
        .await
        .unwrap_or_else(|_| Err(Refused::Other(format!("{address} does not answer"))))
}

/// Keeps the table of a client up to date for as long as there is one.
pub(super) async fn keep(client: Weak<Inner>, mut updates: Updates) {
    let mut tries = 0;
    loop {
        while let Ok(Some(update)) = updates.0.message().await {
            let Some(client) = client.upgrade().filter(|client| !client.is_closed()) else {
                return;
            };
            tries = 0;
            client.peers.forget_broken();
            if let Err(error) = client.table.take(update, &client.keyspace) {
                tracing::warn!(keyspace = &*client.keyspace, %error, "routes that cannot be");
            }
        }
        updates = loop {
            tries += 1;
            let pause = {
                let Some(client) = client.upgrade().filter(|client| !client.is_closed()) else {
                    return;
                };
                client.pause(tries)
            };
            tokio::time::sleep(pause).await;
            let Some(client) = client.upgrade().filter(|client| !client.is_closed()) else {
                return;
            };
            let address = client.any_address(&client.table.now(), tries - 1);
            let until = Instant::now() + FETCH_TIMEOUT;
            if let Ok((update, updates)) =
                open(&client.peers, &address, &client.keyspace, until).await
            {
                if let Err(error) = client.table.take(update, &client.keyspace) {
                    tracing::warn!(keyspace = &*client.keyspace, %error, "routes that cannot be");
                    continue;
                }
                break updates;
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{KeyspaceRoutes, Withdrawal};

    fn route(partition: &str, start: &'static str, epoch: u64) -> Route {
        Route {
            partition: partition.into(),
            start: start.into(),
            epoch,
            owner: "w0".into(),
            ..Route::default()
        }
    }

    fn update(full: bool, routes: Vec<Route>, withdrawn: Vec<Withdrawal>) -> RoutesUpdate {
        RoutesUpdate {
            full,
            keyspaces: vec![KeyspaceRoutes {
                keyspace: "default".into(),
                key_length: 1,
                routes,
                withdrawn,
                losses: None,
            }],
            workers: Vec::new(),
        }
    }

    #[test]
    fn what_is_withdrawn_and_comes_with_less_stays() {
        let table = Table::new(1).unwrap();
        let whole = update(true, vec![route("p", "", 5)], Vec::new());
        table.take(whole, "default").unwrap();
        let withdrawn = Withdrawal {
            partition: "p".into(),
            epoch: 5,
        };
        let child = Route {
            end: "m".into(),
            ..route("p-0", "", 6)
        };
        let less = update(false, vec![child, route("p", "m", 5)], vec![withdrawn]);
        table.take(less, "default").unwrap();
        let now = table.now();
        let shown: Vec<_> = now.entries().map(|entry| &*entry.partition).collect();
        assert_eq!(shown, ["p-0", "p"]);
    }
}
