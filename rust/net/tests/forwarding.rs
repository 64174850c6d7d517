//! Keys that another worker serves: passed on, and the client told.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{KEYSPACE, Pod, connect, key, push, runtime, table};
use dstk_core::node::Settings;
use dstk_net::Client;
use dstk_net::error::ClientError;
use dstk_net::operation::Condition;
use dstk_net::settings::{ClientSettings, ConnectionSettings, WorkerSettings};
use dstk_net::wire::data_client::DataClient;
use dstk_net::wire::{Code, GetRequest, PutRequest, ScanRequest};

#[test]
fn any_worker_takes_any_key() {
    let (runtime, one, two) = (runtime(), Pod::start("w0"), Pod::start("w1"));
    one.serve("p0", 2, "", "m");
    two.serve("p1", 2, "m", "");
    push(
        &[&one, &two],
        &[("p0", "", "m", 2, "w0"), ("p1", "m", "", 2, "w1")],
    );
    runtime.block_on(async {
        for pod in [&one, &two] {
            let mut plain = DataClient::connect(format!("http://{}", pod.address))
                .await
                .unwrap();
            for name in ["ant", "zebra"] {
                let put = PutRequest {
                    keyspace: KEYSPACE.into(),
                    key: key(name).into(),
                    ..Default::default()
                };
                assert_eq!(plain.put(put).await.unwrap().into_inner().code(), Code::Ok);
            }
        }
    });
    assert_eq!((one.state("p0").rows, two.state("p1").rows), (1, 1));
    let forwarded = [&one, &two].map(|pod| pod.counter("operations_forwarded_total"));
    assert_eq!(forwarded, [1, 1]);
}

#[test]
fn a_client_learns_from_the_hint_of_a_proxy_alone() {
    let (runtime, one, two) = (runtime(), Pod::start("w0"), Pod::start("w1"));
    // The client hears of routes from a third worker, which is never told of the move.
    let third = Pod::start("w2");
    one.serve("p", 1, "", "");
    push(&[&one, &two, &third], &[("p", "", "", 1, "w0")]);
    let client = connect(&runtime, &[&third.address]);
    let before = runtime.block_on(client.put(key("a"), "before", Condition::NONE));
    common::move_partition("p", "", "", 1, &one, &two);
    runtime.block_on(async {
        let row = client.get(key("a")).await.unwrap().unwrap();
        assert_eq!(
            (&row.value[..], row.version),
            (&b"before"[..], before.unwrap())
        );
        let forwarded = one.counter("operations_forwarded_total");
        assert_eq!(forwarded, 1);
        assert!(
            client
                .put(key("a"), "after", Condition::version(row.version))
                .await
                .unwrap()
                > row.version
        );
        assert_eq!(
            one.counter("operations_forwarded_total"),
            forwarded,
            "the client knows better by now"
        );
    });
    assert!(client.counters().contains(&("hints", 1)));
    let routes = client.routes();
    let entry = routes.lookup(&key("a")).unwrap();
    assert_eq!((&*entry.owner, entry.epoch), ("w1", 2));
}

#[test]
fn workers_that_point_at_each_other_give_up_at_the_hop_limit() {
    let (runtime, one, two) = (runtime(), Pod::start("w0"), Pod::start("w1"));
    let workers = [("w0", one.address.as_str()), ("w1", two.address.as_str())];
    one.node()
        .apply_routes(&table(&workers, &[("p", "", "", 1, "w1")]))
        .unwrap();
    two.node()
        .apply_routes(&table(&workers, &[("p", "", "", 1, "w0")]))
        .unwrap();
    runtime.block_on(async {
        let mut plain = DataClient::connect(format!("http://{}", one.address))
            .await
            .unwrap();
        let get = GetRequest {
            keyspace: KEYSPACE.into(),
            key: key("a").into(),
        };
        let reply = plain.get(get).await.unwrap().into_inner();
        assert_eq!(reply.code(), Code::Unavailable);
        assert!(
            reply.message.contains("passed on 4 times"),
            "{}",
            reply.message
        );
    });
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
        timeout: Duration::from_secs(2),
        ..ClientSettings::default()
    };
    runtime.block_on(async {
        let client = Client::connect(std::slice::from_ref(&pod.address), KEYSPACE, settings)
            .await
            .unwrap();
        let error = client.get(key("z")).await.unwrap_err();
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
        pod.counter("operations_unowned_total") > 0
    });
    pod.serve("q", 1, "m", "");
    push(&[&pod], &[("p", "", "m", 1, "w0"), ("q", "m", "", 1, "w0")]);
    assert!(runtime.block_on(writing).unwrap().is_ok());
    assert_eq!(pod.state("q").rows, 1);
}

#[test]
fn what_is_held_behind_a_fence_runs_in_order_when_it_is_lifted() {
    let (runtime, pod) = (runtime(), Pod::start("w0"));
    pod.serve("p", 1, "", "");
    push(&[&pod], &[("p", "", "", 1, "w0")]);
    let client = connect(&runtime, &[&pod.address]);
    pod.node()
        .fence(KEYSPACE, "p", 1, 1, pod.worker.now())
        .unwrap();
    let (done, end) = std::sync::mpsc::channel();
    for number in 0..50_u64 {
        let done = done.clone();
        let put =
            dstk_net::operation::Operation::put(key("a"), number.to_string(), Condition::NONE);
        client.submit(put, None, Arc::default(), move |result| {
            done.send((number, result.unwrap().unwrap().version))
                .unwrap()
        });
    }
    common::eventually("all are held", || pod.state("p").held == 50);
    pod.node()
        .unfence(KEYSPACE, "p", 1, 1, pod.worker.now())
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

#[test]
fn what_is_held_for_too_long_is_refused_and_not_applied() {
    let settings = dstk_core::node::Settings {
        hold_seconds: 0.05,
        ..Default::default()
    };
    let (runtime, pod) = (
        runtime(),
        Pod::with("w0", settings, WorkerSettings::default()),
    );
    pod.serve("p", 1, "", "");
    push(&[&pod], &[("p", "", "", 1, "w0")]);
    pod.node()
        .fence(KEYSPACE, "p", 1, 2, pod.worker.now())
        .unwrap();
    runtime.block_on(async {
        let mut plain = DataClient::connect(format!("http://{}", pod.address))
            .await
            .unwrap();
        let put = PutRequest {
            keyspace: KEYSPACE.into(),
            key: key("a").into(),
            ..Default::default()
        };
        let reply = plain.put(put).await.unwrap().into_inner();
        assert_eq!(reply.code(), Code::Unavailable, "{}", reply.message);
    });
    pod.node()
        .unfence(KEYSPACE, "p", 1, 2, pod.worker.now())
        .unwrap();
    assert_eq!(pod.state("p").rows, 0);
}

#[test]
fn what_waits_for_a_stalled_worker_is_bounded_in_bytes() {
    let patient = Settings {
        hold_seconds: 60.0,
        ..Settings::default()
    };
    let two = Pod::with("w1", patient, WorkerSettings::default());
    let network = WorkerSettings {
        connection: ConnectionSettings {
            open_bytes: 2 << 20,
            ..ConnectionSettings::default()
        },
        forward_timeout: Duration::from_secs(60),
        ..WorkerSettings::default()
    };
    let (runtime, one) = (runtime(), Pod::with("w0", Settings::default(), network));
    two.serve("p", 1, "", "");
    push(&[&one, &two], &[("p", "", "", 1, "w1")]);
    let now = two.worker.now();
    two.node().fence(KEYSPACE, "p", 1, 3, now).unwrap();
    runtime.block_on(async {
        let plain = DataClient::connect(format!("http://{}", one.address))
            .await
            .unwrap();
        let (ended, mut codes) = tokio::sync::mpsc::unbounded_channel();
        let put = |number: u32| {
            let (mut plain, ended) = (plain.clone(), ended.clone());
            tokio::spawn(async move {
                let put = PutRequest {
                    keyspace: KEYSPACE.into(),
                    key: key(&number.to_string()).into(),
                    value: vec![0; 900 << 10].into(),
                    ..Default::default()
                };
                ended.send(plain.put(put).await.unwrap().into_inner().code())
            });
        };
        (0..4).for_each(put);
        for _ in 0..2 {
            assert_eq!(codes.recv().await, Some(Code::Limit));
        }
        two.node().unfence(KEYSPACE, "p", 1, 3, now).unwrap();
        for _ in 0..2 {
            assert_eq!(codes.recv().await, Some(Code::Ok));
        }
        // What has ended makes room.
        for number in 4..12 {
            put(number);
            assert_eq!(codes.recv().await, Some(Code::Ok));
        }
    });
}
