//! Connections that break: what is certain is repeated, what is not is said.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Cutter, KEYSPACE, Pod, connect, eventually, key, runtime, table};
use dstk_core::node::Settings;
use dstk_net::Client;
use dstk_net::client::OpResult;
use dstk_net::error::ClientError;
use dstk_net::operation::{Condition, Operation};
use dstk_net::settings::{ClientSettings, ConnectionSettings, WorkerSettings};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

fn behind_a_cutter() -> (Runtime, Pod, Cutter, Client) {
    let (runtime, pod) = (runtime(), Pod::start("w0"));
    let cutter = Cutter::before(&pod.address);
    pod.serve("p", 1, "", "");
    pod.node()
        .apply_routes(&table(
            &[("w0", &cutter.address)],
            &[("p", "", "", 1, "w0")],
        ))
        .unwrap();
    let client = connect(&runtime, &[&cutter.address]);
    (runtime, pod, cutter, client)
}

fn submit(client: &Client, operation: Operation) -> oneshot::Receiver<OpResult> {
    let (done, end) = oneshot::channel();
    client.submit(operation, None, Arc::default(), |result| {
        done.send(result).unwrap()
    });
    end
}

#[test]
fn only_a_write_without_condition_that_was_sent_ends_unknown() {
    let (runtime, pod, cutter, client) = behind_a_cutter();
    let version = runtime
        .block_on(client.put(key("a"), "before", Condition::NONE))
        .unwrap();
    cutter.lose_answers(true);
    let before = pod.state("p").sequence;
    let put = submit(&client, Operation::put(key("b"), "put", Condition::NONE));
    let delete = submit(&client, Operation::delete(key("c"), Condition::NONE));
    let put_if = submit(
        &client,
        Operation::put(key("a"), "after", Condition::version(version)),
    );
    let get = submit(&client, Operation::get(key("b")));
    eventually("both puts are applied", || {
        pod.state("p").sequence >= before + 2
    });
    cutter.lose_answers(false);
    cutter.cut();
    runtime.block_on(async {
        assert!(matches!(
            put.await.unwrap(),
            Err(ClientError::OutcomeUnknown(_))
        ));
        assert!(matches!(
            delete.await.unwrap(),
            Err(ClientError::OutcomeUnknown(_))
        ));
        // It was applied, so the repetition does not match, which alone would prove nothing.
        assert!(matches!(
            put_if.await.unwrap(),
            Err(ClientError::OutcomeUnknown(_))
        ));
        assert_eq!(
            &get.await.unwrap().unwrap().unwrap().value[..],
            b"put",
            "a read is repeated"
        );
        assert_eq!(
            &client.get(key("a")).await.unwrap().unwrap().value[..],
            b"after"
        );
    });
    assert_eq!(
        pod.state("p").sequence,
        before + 2,
        "no write was applied twice"
    );
}

#[test]
fn of_writes_lost_on_their_way_only_those_with_a_condition_are_repeated() {
    let (runtime, pod, cutter, client) = behind_a_cutter();
    let version = runtime
        .block_on(client.put(key("a"), "before", Condition::NONE))
        .unwrap();
    let before = pod.state("p").sequence;
    cutter.lose_requests(true);
    let put_if = Operation::put(key("a"), "after", Condition::version(version));
    let put_if = submit(&client, put_if);
    let put = Operation::put(key("b"), vec![0; 10_000], Condition::NONE);
    let put = submit(&client, put);
    eventually("both have left", || cutter.lost() >= 10_000);
    cutter.lose_requests(false);
    cutter.cut();
    runtime.block_on(async {
        assert!(put_if.await.unwrap().unwrap().unwrap().version > version);
        let unknown = put.await.unwrap();
        assert!(
            matches!(unknown, Err(ClientError::OutcomeUnknown(_))),
            "{unknown:?}"
        );
        assert_eq!(client.get(key("b")).await.unwrap(), None);
    });
    assert_eq!(pod.state("p").sequence, before + 1);
}

#[test]
fn a_row_that_others_removed_is_not_made_again_by_a_repetition() {
    let (runtime, pod, cutter, client) = behind_a_cutter();
    let other = connect(&runtime, &[&pod.address]);
    cutter.lose_answers(true);
    let insert = submit(&client, Operation::put(key("a"), "v", Condition::ABSENT));
    eventually("the row is there", || pod.state("p").rows == 1);
    pod.node()
        .apply_routes(&table(&[("w0", &pod.address)], &[("p", "", "", 1, "w0")]))
        .unwrap();
    runtime.block_on(async {
        eventually("the other client asks the worker itself", || {
            other
                .routes()
                .address("w0")
                .is_some_and(|known| **known == *pod.address)
        });
        let gone = other.delete(key("a"), Condition::NONE).await.unwrap();
        assert!(gone.is_some());
        cutter.lose_answers(false);
        cutter.cut();
        let unknown = insert.await.unwrap();
        assert!(
            matches!(unknown, Err(ClientError::OutcomeUnknown(_))),
            "{unknown:?}"
        );
        assert_eq!(other.get(key("a")).await.unwrap(), None);
    });
    assert_eq!(pod.state("p").sequence, 2, "one put and one delete");
}

#[test]
fn a_stream_that_the_worker_gives_up_leaves_held_writes_in_doubt() {
    let (runtime, pod) = (runtime(), Pod::start("w0"));
    pod.serve("p", 1, "", "");
    common::push(&[&pod], &[("p", "", "", 1, "w0")]);
    let settings = ClientSettings {
        connection: ConnectionSettings {
            batch_limit: 64 << 20,
            value_limit: 16 << 20,
            ..ConnectionSettings::default()
        },
        ..ClientSettings::default()
    };
    let addresses = std::slice::from_ref(&pod.address);
    let client = runtime
        .block_on(Client::connect(addresses, KEYSPACE, settings))
        .unwrap();
    pod.node()
        .fence(KEYSPACE, "p", 1, 1, pod.worker.now())
        .unwrap();
    let held = submit(&client, Operation::put(key("a"), "v", Condition::NONE));
    eventually("it is held", || pod.state("p").held == 1);
    // More than the worker takes for a message, so that it ends the stream.
    let (done, end) = oneshot::channel();
    let large = Operation::put(key("b"), vec![0; 8 << 20], Condition::NONE);
    client.submit(
        large,
        Some(Duration::from_millis(500)),
        Arc::default(),
        |result| {
            done.send(result).unwrap();
        },
    );
    assert!(runtime.block_on(end).unwrap().is_err());
    pod.node()
        .unfence(KEYSPACE, "p", 1, 1, pod.worker.now())
        .unwrap();
    let unknown = runtime.block_on(held).unwrap();
    assert!(
        matches!(unknown, Err(ClientError::OutcomeUnknown(_))),
        "{unknown:?}"
    );
    assert_eq!(pod.state("p").sequence, 1, "the write was applied once");
}

#[test]
fn what_was_never_sent_is_not_doubtful() {
    let (runtime, pod) = (runtime(), Pod::start("w0"));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = free.local_addr().unwrap().to_string();
    drop(free);
    let routes = table(
        &[("w0", &pod.address), ("gone", &nobody)],
        &[("p", "", "", 1, "gone")],
    );
    pod.node().apply_routes(&routes).unwrap();
    let settings = ClientSettings {
        timeout: Duration::from_millis(400),
        ..ClientSettings::default()
    };
    runtime.block_on(async {
        let client = Client::connect(std::slice::from_ref(&pod.address), KEYSPACE, settings)
            .await
            .unwrap();
        let error = client
            .put(key("a"), "v", Condition::NONE)
            .await
            .unwrap_err();
        assert!(
            matches!(error, ClientError::DeadlineExceeded(_)),
            "{error:?}"
        );
    });
}

#[test]
fn a_silent_worker_costs_the_deadline_and_no_more() {
    let (runtime, _pod, cutter, client) = behind_a_cutter();
    runtime
        .block_on(client.put(key("a"), "v", Condition::NONE))
        .unwrap();
    cutter.lose_answers(true);
    let (done, end) = std::sync::mpsc::channel();
    let soon = Some(Duration::from_millis(200));
    for operation in [
        Operation::get(key("a")),
        Operation::put(key("a"), "w", Condition::NONE),
    ] {
        let done = done.clone();
        client.submit(operation, soon, Arc::default(), move |result| {
            done.send(result).unwrap()
        });
    }
    let ends = [end.recv().unwrap(), end.recv().unwrap()];
    assert!(
        ends.iter()
            .any(|end| matches!(end, Err(ClientError::DeadlineExceeded(_)))),
        "{ends:?}"
    );
    assert!(
        ends.iter()
            .any(|end| matches!(end, Err(ClientError::OutcomeUnknown(_)))),
        "{ends:?}"
    );
}

#[test]
fn a_follower_resumes_and_is_sent_only_what_differs() {
    let source = Pod::start("w0");
    let network = WorkerSettings {
        follow_retry: Duration::from_millis(5),
        ..WorkerSettings::default()
    };
    let follower = Pod::with("w1", Settings::default(), network);
    source.serve("p", 1, "", "");
    common::push(&[&source], &[("p", "", "", 1, "w0")]);
    let runtime = runtime();
    let client = connect(&runtime, &[&source.address]);
    let value = vec![7; 400];
    let puts = (0..20_000)
        .map(|n| Operation::put(key(&format!("{n:07}")), value.clone(), Condition::NONE));
    let (done, end) = oneshot::channel();
    client.submit_many(puts.collect(), None, Arc::default(), |results| {
        done.send(results).unwrap()
    });
    assert!(runtime.block_on(end).unwrap().iter().all(Result::is_ok));
    let all = source.state("p").bytes;

    let cutter = Cutter::before(&source.address);
    cutter.cut_after(all * 2 / 3);
    follower.follow("p", 1, "", "", &source, &cutter.address);
    eventually("the follower has caught up", || {
        follower
            .state("p")
            .follow
            .is_some_and(|follow| follow.caught_up)
    });
    let (from, to) = (source.state("p"), follower.state("p"));
    assert_eq!(
        (to.rows, to.digest, to.sequence),
        (from.rows, from.digest, from.sequence)
    );
    assert!(follower.counter("replication_streams_broken_total") >= 1);
    let resumed = to.follow.unwrap().bytes_total;
    assert!(
        resumed < all * 2 / 3,
        "{resumed} of {all} bytes were sent again"
    );
    // What a cut loses is at most a compared range and a chunk beside what had arrived.
    let installed = follower.counter("replication_chunk_bytes_installed_total");
    assert!(
        installed < all * 3 / 2,
        "{installed} bytes were installed for {all}"
    );

    // And what is written from here on arrives by the log.
    runtime
        .block_on(client.put(key("later"), "v", Condition::NONE))
        .unwrap();
    eventually("the log arrives", || {
        follower.state("p").digest == source.state("p").digest
    });
    assert!(follower.counter("replication_entries_applied_total") >= 1);
}

#[test]
fn a_follower_of_another_life_of_the_source_is_refused_and_says_why() {
    let (mut source, follower) = (Pod::start("w0"), Pod::start("w1"));
    source.serve("p", 1, "", "");
    source.incarnation = "w0-uid/before".into();
    follower.follow("p", 1, "", "", &source, &source.address);
    let error = || {
        follower
            .state("p")
            .follow
            .map(|follow| follow.error)
            .unwrap_or_default()
    };
    let mut seen = String::new();
    eventually("it says so", || {
        seen = error();
        seen.contains("incarnation")
    });
    assert!(
        seen.contains("w0-uid/1") && seen.contains("w0-uid/before"),
        "{seen}"
    );
    follower.node().drop_partition(KEYSPACE, "p", 1).unwrap();
}
