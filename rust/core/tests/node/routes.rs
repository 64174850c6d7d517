//! What a node knows of others, and what it tells of itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dstk_core::node::{KeyspaceRoutes, Loss, Node, Outcome, Refusal, Route, RoutesUpdate};
use dstk_core::partition::Verdict;

use super::harness::*;

fn route(partition: &str, start: &[u8], end: &[u8], epoch: u64, owner: &str) -> Route {
    Route {
        partition: partition.into(),
        start: start.into(),
        end: end.into(),
        epoch,
        owner: owner.into(),
    }
}

fn update(full: bool, routes: Vec<Route>) -> RoutesUpdate {
    let keyspace = KeyspaceRoutes {
        keyspace: KS.into(),
        key_length: KEY_LENGTH,
        routes,
        withdrawn: Vec::new(),
        losses: None,
    };
    let workers = vec![("a".into(), "a:1".into()), ("b".into(), "b:1".into())];
    RoutesUpdate {
        full,
        keyspaces: vec![keyspace],
        workers,
    }
}

fn owner(node: &Node, number: u8) -> Option<String> {
    let hint = node.keyspace(KS).unwrap().hint(&key(number))?;
    Some(format!("{}@{} {}", hint.worker, hint.address, hint.epoch))
}

#[test]
fn keys_of_others_are_forwarded_by_the_routes() {
    let node = node("a");
    assert!(node.keyspace(KS).is_none());
    assert_eq!(node.routes_version(), 0);
    let routes = vec![
        route("p", b"a", b"m", 1, "b"),
        route("q", b"m", b"x", 1, ""),
        route("r", b"x", b"", 1, "a"),
    ];
    node.apply_routes(&update(true, routes)).unwrap();
    let outcome = write(&node, b'c', "x", 0);
    assert!(
        matches!(&outcome, Outcome::Forward(target) if *target.address == *"b:1"),
        "{outcome:?}"
    );
    for (number, why) in [
        (b'n', "owned by nobody"),
        (b'A', "a gap"),
        (b'y', "this worker, not told yet"),
    ] {
        assert!(
            matches!(write(&node, number, "x", 0), Outcome::NotHere),
            "{why}"
        );
    }
}

#[test]
fn what_the_worker_did_shows_at_once() {
    let (a, b) = (primary("a"), node("b"));
    let routes = update(true, vec![route("p", b"", b"", 1, "a")]);
    a.apply_routes(&routes).unwrap();
    b.apply_routes(&routes).unwrap();
    assert_eq!(owner(&a, 1).unwrap(), "a@a:1 1");
    assert_eq!(owner(&b, 1).unwrap(), "a@a:1 1");
    let (fenced, _stream) = drained(&a, &b);
    let version = a.routes_version();
    b.promote(KS, "p", 2, fenced.sequence, fenced.digest, 0)
        .unwrap();
    a.proxy(KS, "p", 2, "b", "b:1", 0).unwrap();
    assert_eq!(owner(&a, 1).unwrap(), "b@b:1 2");
    assert_eq!(owner(&b, 1).unwrap(), "b@b:1 2");
    let (_, told) = a.routes_after(version);
    assert_eq!(told.keyspaces[0].routes, [route("p", &[0, 0], b"", 2, "b")]);
    b.split(KS, "p", 2, 3, &[&key(9)], &["l", "r"], &clock)
        .unwrap();
    let store = b.keyspace(KS).unwrap();
    assert_eq!(&*store.route(&key(10)).unwrap().partition, "r");
}

#[test]
fn subscribers_get_everything_then_what_changed() {
    let node = node("a");
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let watch = node.watch_routes(Arc::new(move || {
        _ = counter.fetch_add(1, Ordering::Relaxed)
    }));
    node.apply_routes(&update(
        true,
        vec![route("p", b"", b"m", 1, "a"), route("q", b"m", b"", 1, "b")],
    ))
    .unwrap();
    let (first, all) = node.routes_after(0);
    assert!(all.full);
    assert_eq!((all.keyspaces[0].routes.len(), all.workers.len()), (2, 2));
    let mut delta = update(false, vec![route("p", b"", b"m", 2, "b")]);
    delta.keyspaces[0].withdrawn.push(("q".into(), 1));
    delta.workers = vec![("a".into(), String::new())];
    node.apply_routes(&delta).unwrap();
    let (second, changes) = node.routes_after(first);
    assert!(!changes.full && second > first);
    assert_eq!(
        changes.keyspaces[0].routes,
        [route("p", &[0, 0], b"m\0", 2, "b")]
    );
    assert!(changes.keyspaces[0].withdrawn.contains(&("q".into(), 1)));
    assert_eq!(changes.workers, [("a".into(), String::new())]);
    assert_eq!(node.routes_after(second), (second, RoutesUpdate::default()));
    assert_eq!(seen.load(Ordering::Relaxed), 2);
    node.apply_routes(&delta).unwrap();
    assert_eq!(
        (seen.load(Ordering::Relaxed), node.routes_version()),
        (2, second),
        "nothing new in that"
    );
    drop(watch);
    node.apply_routes(&update(false, vec![])).unwrap();
    assert_eq!(seen.load(Ordering::Relaxed), 2);
    assert!(
        node.routes_after(u64::MAX).1.full,
        "a version that never was"
    );
}

#[test]
fn a_wrong_update_is_refused_as_a_whole() {
    let node = node("a");
    node.apply_routes(&update(true, vec![route("p", b"", b"", 1, "b")]))
        .unwrap();
    let version = node.routes_version();
    let wrong = update(
        false,
        vec![route("p", b"", b"", 2, "a"), route("q", b"z", b"b", 1, "b")],
    );
    assert!(matches!(
        node.apply_routes(&wrong),
        Err(Refusal::Invalid(_))
    ));
    assert_eq!(
        (node.routes_version(), owner(&node, 1).unwrap()),
        (version, "b@b:1 1".to_string())
    );
    node.apply_routes(&RoutesUpdate {
        full: true,
        ..RoutesUpdate::default()
    })
    .unwrap();
    assert_eq!(owner(&node, 1), None);
}

/// A keyspace was deleted and made anew with longer keys.
#[test]
fn routes_of_another_key_length_replace_the_old_unless_partitions_of_those_are_held() {
    let longer = || {
        let mut update = update(true, vec![route("q", b"", b"", 1, "b")]);
        update.keyspaces[0].key_length = 3;
        update
    };
    let lengths = |node: &Node| {
        let (_, routes) = node.routes_after(0);
        let known = routes.keyspaces.iter().map(|routes| routes.key_length);
        (
            node.keyspace(KS).map(|store| store.key_length()),
            known.collect::<Vec<_>>(),
        )
    };
    let empty = node("a");
    empty
        .apply_routes(&update(true, vec![route("p", b"", b"", 1, "b")]))
        .unwrap();
    empty.apply_routes(&longer()).unwrap();
    assert_eq!(lengths(&empty), (Some(3), vec![3]));
    // Other keyspaces' routes come all the same, and what is held is not lost.
    let holder = primary("a");
    put(&holder, 1, "old");
    let mut both = longer();
    both.keyspaces.push(KeyspaceRoutes {
        keyspace: "other".into(),
        key_length: 3,
        routes: vec![],
        withdrawn: vec![],
        losses: None,
    });
    holder.apply_routes(&both).unwrap();
    assert_eq!(lengths(&holder), (Some(2), vec![3]));
    let refused = holder.serve(KS, "q", 1, 3, b"", b"", false, 0);
    assert!(
        matches!(&refused, Err(Refusal::Invalid(text)) if text.contains("keys of 2 bytes, not 3")),
        "{refused:?}"
    );
    assert_eq!(holder.states(None, 0).unwrap()[0].rows, 1);
    // Once that is gone the new one takes its place.
    holder.fence(KS, "p", 1, 7, 0).unwrap();
    holder.proxy(KS, "p", 2, "b", "b:1", 0).unwrap();
    holder.release(KS, "p", 2).unwrap();
    holder.apply_routes(&longer()).unwrap();
    assert_eq!(lengths(&holder), (Some(3), vec![3, 3]), "both keyspaces");
}

#[test]
fn a_follower_that_the_routes_name_as_owner_holds_until_it_is_promoted() {
    let (a, b, verdicts) = (primary("a"), node("b"), Verdicts::default());
    put(&a, 1, "old");
    let (fenced, _stream) = drained(&a, &b);
    b.apply_routes(&update(true, vec![route("p", b"", b"", 2, "b")]))
        .unwrap();
    let op = dstk_core::partition::Op::Get { key: &key(1) };
    let outcome = b
        .keyspace(KS)
        .unwrap()
        .execute(op, 0, || verdicts.waiter(0));
    assert!(matches!(outcome, Outcome::Parked), "{outcome:?}");
    b.promote(KS, "p", 2, fenced.sequence, fenced.digest, 0)
        .unwrap();
    let told = verdicts.take();
    assert!(
        matches!(&told[..], [(0, Verdict::Done(reply))] if text(reply) == Some("old")),
        "{told:?}"
    );
}

#[test]
fn what_was_lost_is_passed_on_when_it_changes_and_to_whoever_asks_for_everything() {
    let node = node("a");
    let routes = vec![route("p", b"a", b"", 1, "a")];
    node.apply_routes(&update(true, routes.clone())).unwrap();
    let lost = |held: bool| -> Arc<[Loss]> {
        Arc::from([Loss {
            partition: "p".into(),
            start: b"a".to_vec(),
            end: Vec::new(),
            since_ms: 1,
            reason: "WorkerGone".into(),
            held,
        }])
    };
    let tell = |losses: Option<Arc<[Loss]>>| {
        let mut told = update(false, Vec::new());
        told.keyspaces[0].losses = losses;
        node.apply_routes(&told).unwrap();
    };
    let after = |version: u64| {
        let (next, update) = node.routes_after(version);
        let losses = update
            .keyspaces
            .into_iter()
            .next()
            .map(|routes| routes.losses);
        (next, losses)
    };
    let (mut version, all) = after(0);
    assert_eq!(
        all,
        Some(Some(Arc::from([]))),
        "everything says that nothing is lost"
    );
    for losses in [lost(true), lost(false), Arc::from([])] {
        tell(Some(Arc::clone(&losses)));
        let (next, changed) = after(version);
        assert_eq!(changed, Some(Some(Arc::clone(&losses))));
        assert_eq!(after(0).1, Some(Some(losses)), "everything has it too");
        version = next;
        tell(None);
        assert_eq!(
            after(version),
            (version, None),
            "nothing is said where nothing changed"
        );
    }
}
