//! Keys that another worker serves: passed on, and the client told.

mod common;

use std::time::Duration;

use common::{KEYSPACE, Pod, connect, key, push, runtime, table};
use dstk_net::Client;
use dstk_net::error::ClientError;
use dstk_net::operation::Condition;
use dstk_net::settings::ClientSettings;
use dstk_net::wire::data_client::DataClient;
use dstk_net::wire::{Code, ScanRequest};

#[test]
fn a_client_with_old_routes_is_served_and_learns() {
    let (runtime, one, two) = (runtime(), Pod::start("w0"), Pod::start("w1"));
    one.serve("p0", 2, "", "m");
    two.serve("p1", 2, "m", "");
    let both = [("p0", "", "m", 2, "w0"), ("p1", "m", "", 2, "w1")];
    // The first worker says that it serves everything until the client has its table.
    push(&[&one, &two], &[("old", "", "", 1, "w0")]);
    let client = connect(&runtime, &[&one.address]);
    assert_eq!(client.routes().len(), 1);
    two.node()
        .apply_routes(&table(&[("w0", &one.address), ("w1", &two.address)], &both))
        .unwrap();
    // Only this worker hears of the change, so the client can know it from hints alone.
    let silent = connect(&runtime, &[&two.address]);
    assert_eq!(silent.routes().len(), 2);
    drop(silent);
    one.node()
        .apply_routes(&table(&[("w0", &one.address), ("w1", &two.address)], &both))
        .unwrap();
    runtime.block_on(async {
        client
            .put(key("zebra"), "z", Condition::NONE)
            .await
            .unwrap();
        client.put(key("ant"), "a", Condition::NONE).await.unwrap();
        assert_eq!(
            &client.get(key("zebra")).await.unwrap().unwrap().value[..],
            b"z"
        );
    });
    assert_eq!((one.state("p0").rows, two.state("p1").rows), (1, 1));
}

#[test]
fn a_proxy_passes_on_and_its_hint_replaces_an_older_epoch() {
    let (runtime, one, two) = (runtime(), Pod::start("w0"), Pod::start("w1"));
    one.serve("p", 1, "", "");
    push(&[&one, &two], &[("p", "", "", 1, "w0")]);
    let client = connect(&runtime, &[&one.address]);
    runtime
        .block_on(client.put(key("a"), "before", Condition::NONE))
        .unwrap();
    two.follow("p", 1, "", "", &one, &one.address);
    common::eventually("caught up", || {
        two.state("p").follow.is_some_and(|follow| follow.caught_up)
    });
    let fenced = one
        .node()
        .fence(KEYSPACE, "p", 1, one.worker.now())
        .unwrap();
    let wait = Duration::from_secs(60);
    two.node()
        .await_applied(KEYSPACE, "p", 1, fenced.sequence, wait)
        .unwrap();
    two.node()
        .promote(
            KEYSPACE,
            "p",
            2,
            fenced.sequence,
            fenced.digest,
            two.worker.now(),
        )
        .unwrap();
    one.node()
        .proxy(KEYSPACE, "p", 2, "w1", &two.address, one.worker.now())
        .unwrap();
    runtime.block_on(async {
        let row = client.get(key("a")).await.unwrap().unwrap();
        assert_eq!(
            (&row.value[..], row.version),
            (&b"before"[..], fenced.sequence)
        );
        assert!(
            client
                .put(key("a"), "after", Condition::version(row.version))
                .await
                .unwrap()
                > row.version
        );
        let forwarded = one.counter("operations_forwarded");
        client
            .put(key("b"), "direct", Condition::NONE)
            .await
            .unwrap();
        assert_eq!(
            one.counter("operations_forwarded"),
            forwarded,
            "the client knows better by now"
        );
    });
    let routes = client.routes();
    let entry = routes.lookup(&key("a")).unwrap();
    assert_eq!((&*entry.owner, entry.epoch), ("w1", 2));
}

#[test]
fn a_scan_is_passed_on_too() {
    let (runtime, one, two) = (runtime(), Pod::start("w0"), Pod::start("w1"));
    two.serve("p", 1, "", "");
    push(&[&one, &two], &[("p", "", "", 1, "w1")]);
    let client = connect(&runtime, &[&one.address]);
    runtime.block_on(async {
        client.put(key("a"), "v", Condition::NONE).await.unwrap();
        let mut plain = DataClient::connect(format!("http://{}", one.address))
            .await
            .unwrap();
        let scan = ScanRequest {
            keyspace: KEYSPACE.into(),
            limit: 10,
            ..Default::default()
        };
        let reply = plain.scan(scan.clone()).await.unwrap().into_inner();
        assert_eq!(
            (reply.code(), reply.rows),
            (Code::Ok, 1),
            "{}",
            reply.message
        );
        let reply = plain
            .scan(ScanRequest { hops: 4, ..scan })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(reply.code(), Code::Unavailable);
        assert!(
            reply.message.contains("passed on 4 times"),
            "{}",
            reply.message
        );
    });
}

#[test]
fn what_nobody_owns_is_unavailable_until_the_deadline() {
    let (runtime, pod) = (runtime(), Pod::start("w0"));
    pod.serve("p", 1, "", "m");
    push(&[&pod], &[("p", "", "m", 1, "w0")]);
    let settings = ClientSettings {
        timeout: Duration::from_millis(300),
        ..ClientSettings::default()
    };
    runtime.block_on(async {
        let client = Client::connect(std::slice::from_ref(&pod.address), KEYSPACE, settings)
            .await
            .unwrap();
        let error = client
            .put(key("z"), "v", Condition::NONE)
            .await
            .unwrap_err();
        let ClientError::DeadlineExceeded(text) = error else {
            panic!("{error:?}")
        };
        assert!(
            text.contains("nobody owns key z of keyspace \"default\""),
            "{text}"
        );
    });
}

#[test]
fn an_operation_waits_for_an_owner_who_comes_in_time() {
    let (runtime, pod) = (runtime(), Pod::start("w0"));
    pod.serve("p", 1, "", "m");
    push(&[&pod], &[("p", "", "m", 1, "w0")]);
    let client = connect(&runtime, &[&pod.address]);
    let writing = runtime.spawn({
        let client = client.clone();
        async move { client.put(key("z"), "v", Condition::NONE).await }
    });
    common::eventually("it was refused at least once", || {
        pod.counter("operations_unowned") > 0
    });
    pod.serve("q", 1, "m", "");
    push(&[&pod], &[("p", "", "m", 1, "w0"), ("q", "m", "", 1, "w0")]);
    assert!(runtime.block_on(writing).unwrap().is_ok());
    assert_eq!(pod.state("q").rows, 1);
}

#[test]
fn what_is_held_behind_a_fence_runs_in_order_when_it_is_lifted_and_is_refused_when_it_is_not() {
    let (runtime, pod) = (runtime(), Pod::start("w0"));
    pod.serve("p", 1, "", "");
    push(&[&pod], &[("p", "", "", 1, "w0")]);
    let client = connect(&runtime, &[&pod.address]);
    pod.node()
        .fence(KEYSPACE, "p", 1, pod.worker.now())
        .unwrap();
    let (done, end) = std::sync::mpsc::channel();
    for number in 0..50_u64 {
        let done = done.clone();
        let put =
            dstk_net::operation::Operation::put(key("a"), number.to_string(), Condition::NONE);
        client.submit(put, None, move |result| {
            done.send((number, result.unwrap().unwrap().version))
                .unwrap()
        });
    }
    common::eventually("all are held", || pod.state("p").held == 50);
    pod.node()
        .unfence(KEYSPACE, "p", 1, pod.worker.now())
        .unwrap();
    let mut written: Vec<_> = (0..50).map(|_| end.recv().unwrap()).collect();
    written.sort_by_key(|(_, version)| *version);
    assert!(
        written.iter().map(|(number, _)| *number).eq(0..50),
        "{written:?}"
    );
    runtime.block_on(async {
        let row = client.get(key("a")).await.unwrap().unwrap();
        assert_eq!(&row.value[..], b"49");
    });
}
