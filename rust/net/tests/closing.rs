//! The ends that a call has when its client is closed, or when nobody waits for it any more.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Cutter, KEYSPACE, Pod, eventually, key, runtime, table};
use dstk_net::Client;
use dstk_net::client::{Asker, OpResult, ScanRange};
use dstk_net::error::ClientError;
use dstk_net::operation::{Condition, Operation};
use dstk_net::settings::ClientSettings;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

const LONG: Duration = Duration::from_secs(3600);

/// A client whose calls do not end by themselves in the time of a test.
fn behind_a_cutter(close: Duration) -> (Runtime, Pod, Cutter, Client) {
    let (runtime, pod) = (runtime(), Pod::start("w0"));
    let cutter = Cutter::before(&pod.address);
    pod.serve("p", 1, "", "");
    route(&pod, &cutter.address);
    let settings = ClientSettings {
        timeout: LONG,
        close_timeout: close,
        ..ClientSettings::default()
    };
    let connecting = Client::connect(std::slice::from_ref(&cutter.address), KEYSPACE, settings);
    let client = runtime.block_on(connecting).unwrap();
    runtime.block_on(client.get(key("a"))).unwrap();
    (runtime, pod, cutter, client)
}

fn route(pod: &Pod, address: &str) {
    let update = table(&[("w0", address)], &[("p", "", "", 1, "w0")]);
    pod.node().apply_routes(&update).unwrap();
}

fn submit(
    client: &Client,
    operation: Operation,
    asker: &Arc<Asker>,
) -> oneshot::Receiver<OpResult> {
    let (done, end) = oneshot::channel();
    client.submit(operation, None, Arc::clone(asker), |result| {
        _ = done.send(result);
    });
    end
}

fn closed(client: &Client) -> oneshot::Receiver<()> {
    let (done, end) = oneshot::channel();
    client.close(|| done.send(()).unwrap());
    end
}

fn counter(client: &Client, name: &str) -> u64 {
    let counters = client.counters();
    let found = counters.into_iter().find(|(known, _)| *known == name);
    found.unwrap().1
}

fn put(of: &str) -> Operation {
    Operation::put(key(of), vec![1; 10_000], Condition::NONE)
}

#[test]
fn what_was_sent_and_is_not_answered_in_time_is_unknown_and_all_has_ended_when_close_has() {
    let (runtime, _pod, cutter, client) = behind_a_cutter(Duration::from_millis(50));
    cutter.lose_answers(true);
    let asker = Arc::<Asker>::default();
    let write = submit(&client, put("b"), &asker);
    let repeatable = Operation::put(key("c"), "v", Condition::version(7));
    let repeatable = submit(&client, repeatable, &asker);
    let read = submit(&client, Operation::get(key("b")), &asker);
    eventually("they are sent", || counter(&client, "sent") == 3);
    let closing = closed(&client);
    runtime.block_on(async {
        closing.await.unwrap();
        for unknown in [write, repeatable] {
            let ended = unknown.await.unwrap();
            assert!(
                matches!(ended, Err(ClientError::OutcomeUnknown(_))),
                "{ended:?}"
            );
        }
        let ended = read.await.unwrap();
        assert!(
            matches!(ended, Err(ClientError::Unavailable(_))),
            "{ended:?}"
        );
    });
    assert_eq!(counter(&client, "under_way"), 0);
    let later = runtime.block_on(client.get(key("a")));
    assert!(matches!(later, Err(ClientError::Invalid(_))), "{later:?}");
}

#[test]
fn what_was_sent_is_waited_for() {
    let (runtime, pod, cutter, client) = behind_a_cutter(LONG);
    let fence = pod.node().fence(KEYSPACE, "p", 1, 1, pod.worker.now());
    fence.unwrap();
    let asker = Arc::<Asker>::default();
    let write = submit(&client, put("b"), &asker);
    eventually("it is sent", || counter(&client, "sent") == 1);
    let closing = closed(&client);
    let now = pod.worker.now();
    pod.node().unfence(KEYSPACE, "p", 1, 1, now).unwrap();
    runtime.block_on(async {
        assert!(write.await.unwrap().is_ok());
        closing.await.unwrap();
    });
    eventually("its connections end", || cutter.relays() == 0);
}

#[test]
fn what_waits_to_be_tried_again_ends_at_once_and_was_not_sent() {
    let (runtime, pod) = (runtime(), Pod::start("w0"));
    pod.serve("low", 1, "", "m");
    let update = table(
        &[("w0", &pod.address)],
        &[("low", "", "m", 1, "w0"), ("high", "m", "", 1, "")],
    );
    pod.node().apply_routes(&update).unwrap();
    for gives_up in [false, true] {
        let settings = ClientSettings {
            timeout: LONG,
            backoff: LONG,
            backoff_limit: LONG,
            ..ClientSettings::default()
        };
        let address = std::slice::from_ref(&pod.address);
        let connecting = Client::connect(address, KEYSPACE, settings);
        let client = runtime.block_on(connecting).unwrap();
        let asker = Arc::<Asker>::default();
        let (scanned, scan) = oneshot::channel();
        let range = ScanRange {
            start: key("a").into(),
            end: key("z").into(),
            limit: 10,
            reverse: false,
        };
        client.submit_scan(range, Some(2 * LONG), Arc::clone(&asker), |result| {
            _ = scanned.send(result);
        });
        let (done, write) = oneshot::channel();
        client.submit(put("z"), Some(2 * LONG), Arc::clone(&asker), |result| {
            _ = done.send(result);
        });
        eventually("both wait", || counter(&client, "retries") == 2);
        if gives_up {
            asker.give_up();
            eventually("they leave", || counter(&client, "under_way") == 0);
            continue;
        }
        runtime.block_on(async {
            closed(&client).await.unwrap();
            let ended = write.await.unwrap();
            assert!(
                matches!(ended, Err(ClientError::Unavailable(_))),
                "{ended:?}"
            );
            let ended = scan.await.unwrap();
            assert!(
                matches!(ended, Err(ClientError::Unavailable(_))),
                "{ended:?}"
            );
        });
        assert_eq!(counter(&client, "under_way"), 0);
    }
}

#[test]
fn what_is_given_up_holds_no_value_and_leaves_with_its_answer() {
    let (_runtime, pod, _cutter, client) = behind_a_cutter(LONG);
    let fence = pod.node().fence(KEYSPACE, "p", 1, 1, pod.worker.now());
    fence.unwrap();
    let asker = Arc::<Asker>::default();
    let _write = submit(&client, put("b"), &asker);
    eventually("it is sent", || counter(&client, "sent") == 1);
    assert!(counter(&client, "open_bytes") > 10_000);
    asker.give_up();
    eventually("its value is freed", || {
        counter(&client, "open_bytes") < 100
    });
    assert_eq!(counter(&client, "sent"), 1, "its answer is not there yet");
    let unsent = submit(&client, put("c"), &asker);
    drop(unsent);
    let now = pod.worker.now();
    pod.node().unfence(KEYSPACE, "p", 1, 1, now).unwrap();
    eventually("it leaves", || counter(&client, "under_way") == 0);
    assert_eq!(
        pod.state("p").rows,
        1,
        "what was given up before is not sent"
    );
}

#[test]
fn close_does_not_wait_for_what_was_given_up() {
    let (runtime, _pod, cutter, client) = behind_a_cutter(LONG);
    cutter.lose_answers(true);
    let asker = Arc::<Asker>::default();
    let write = submit(&client, put("b"), &asker);
    eventually("it is sent", || counter(&client, "sent") == 1);
    asker.give_up();
    runtime.block_on(async {
        closed(&client).await.unwrap();
        drop(write.await);
    });
}
