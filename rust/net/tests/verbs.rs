//! Get, put, delete, scan and conditions, over the stream and by the plain methods.

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::{KEYSPACE, Pod, connect, key, push, runtime};
use dstk_net::Client;
use dstk_net::client::ScanRange;
use dstk_net::error::ClientError;
use dstk_net::operation::{Condition, Operation};
use dstk_net::settings::ClientSettings;
use dstk_net::wire::data_client::DataClient;
use dstk_net::wire::{
    Batch, Code, DeleteRequest, GetRequest, PutRequest, RoutesRequest, ScanRequest,
};

fn one_pod() -> (tokio::runtime::Runtime, Pod, Client) {
    let (runtime, pod) = (runtime(), Pod::start("w0"));
    pod.serve("p", 1, "", "");
    push(&[&pod], &[("p", "", "", 1, "w0")]);
    let client = connect(&runtime, &[&pod.address]);
    (runtime, pod, client)
}

fn range(start: &str, end: &str, limit: usize, reverse: bool) -> ScanRange {
    ScanRange {
        start: start.to_owned().into(),
        end: end.to_owned().into(),
        limit,
        reverse,
    }
}

#[test]
fn rows_are_written_read_and_removed() {
    let (runtime, _pod, client) = one_pod();
    runtime.block_on(async {
        assert_eq!(client.get(key("a")).await.unwrap(), None);
        let first = client.put(key("a"), "one", Condition::NONE).await.unwrap();
        let row = client.get(key("a")).await.unwrap().unwrap();
        assert_eq!((&row.value[..], row.version), (&b"one"[..], first));
        let second = client.put(key("a"), "", Condition::NONE).await.unwrap();
        assert!(second > first);
        assert_eq!(
            client.get(key("a")).await.unwrap().unwrap().value,
            Bytes::new()
        );
        assert!(
            client
                .delete(key("a"), Condition::NONE)
                .await
                .unwrap()
                .unwrap()
                > second
        );
        assert_eq!(
            client.delete(key("a"), Condition::NONE).await.unwrap(),
            None
        );
        assert_eq!(client.get(key("a")).await.unwrap(), None);
    });
}

#[test]
fn a_condition_that_does_not_hold_changes_nothing_and_says_what_is_there() {
    let (runtime, _pod, client) = one_pod();
    runtime.block_on(async {
        let version = client
            .put(key("a"), "one", Condition::ABSENT)
            .await
            .unwrap();
        let mismatch = |result: Result<u64, ClientError>| match result {
            Err(ClientError::VersionMismatch {
                current_version, ..
            }) => current_version,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            mismatch(client.put(key("a"), "two", Condition::ABSENT).await),
            version
        );
        assert_eq!(
            mismatch(
                client
                    .put(key("a"), "two", Condition::version(version + 1))
                    .await
            ),
            version
        );
        assert_eq!(
            mismatch(client.put(key("b"), "two", Condition::version(7)).await),
            0
        );
        assert_eq!(
            &client.get(key("a")).await.unwrap().unwrap().value[..],
            b"one"
        );
        assert!(
            client
                .put(key("a"), "two", Condition::version(version))
                .await
                .unwrap()
                > version
        );
        let stale = client.delete(key("a"), Condition::version(version)).await;
        assert!(matches!(stale, Err(ClientError::VersionMismatch { .. })));
    });
}

#[test]
fn scans_go_both_ways_over_many_partitions_and_workers() {
    let (runtime, one, two) = (runtime(), Pod::start("w0"), Pod::start("w1"));
    one.serve("p0", 1, "", "g");
    two.serve("p1", 1, "g", "p");
    one.serve("p2", 1, "p", "");
    push(
        &[&one, &two],
        &[
            ("p0", "", "g", 1, "w0"),
            ("p1", "g", "p", 1, "w1"),
            ("p2", "p", "", 1, "w0"),
        ],
    );
    let client = connect(&runtime, &[&two.address]);
    runtime.block_on(async {
        for letter in 'a'..='z' {
            client
                .put(
                    key(&letter.to_string()),
                    letter.to_string(),
                    Condition::NONE,
                )
                .await
                .unwrap();
        }
        let text = |scanned: &dstk_net::client::Scanned| -> String {
            scanned
                .rows
                .iter()
                .map(|(_, value, _)| std::str::from_utf8(value).unwrap())
                .collect()
        };
        let all = client.scan(range("", "", 100, false)).await.unwrap();
        assert_eq!(text(&all), "abcdefghijklmnopqrstuvwxyz");
        assert_eq!(all.cursor, None);
        let part = client.scan(range("c", "s", 100, true)).await.unwrap();
        assert_eq!(text(&part), "rqponmlkjihgfedc");
        let mut forward = range("b", "y", 4, false);
        let mut read = String::new();
        loop {
            let page = client.scan(forward.clone()).await.unwrap();
            read += &text(&page);
            let Some(cursor) = page.cursor else { break };
            forward.start = cursor;
        }
        assert_eq!(read, "bcdefghijklmnopqrstuvwx");
    });
}

#[test]
fn many_operations_share_one_completion_and_keep_their_order() {
    let (runtime, _pod, client) = one_pod();
    runtime.block_on(async {
        let keys: Vec<_> = (0..10_000)
            .map(|number: u32| key(&format!("{number:06}")))
            .collect();
        let run = |operations: Vec<Operation>| {
            let (done, end) = tokio::sync::oneshot::channel();
            client.submit_many(operations, None, Arc::default(), |results| {
                done.send(results).unwrap()
            });
            end
        };
        let puts = keys
            .iter()
            .map(|key| Operation::put(key.clone(), key.clone(), Condition::NONE))
            .collect();
        assert!(
            run(puts)
                .await
                .unwrap()
                .iter()
                .all(|result| matches!(result, Ok(Some(_))))
        );
        let mut gets: Vec<_> = keys.iter().map(|key| Operation::get(key.clone())).collect();
        gets.push(Operation::get(key("none")));
        gets.push(Operation::get(&b"short"[..]));
        let results = run(gets).await.unwrap();
        for (key, result) in keys.iter().zip(&results) {
            assert_eq!(result.as_ref().unwrap().as_ref().unwrap().value, *key);
        }
        assert_eq!(results[keys.len()], Ok(None));
        assert!(matches!(
            results[keys.len() + 1],
            Err(ClientError::KeyLength(_))
        ));
        assert_eq!(run(Vec::new()).await.unwrap(), []);
    });
}

#[test]
fn what_is_wrong_with_a_call_is_said() {
    let (runtime, pod, client) = one_pod();
    runtime.block_on(async {
        let error = client.get(&b"short"[..]).await.unwrap_err();
        let text = "key short is 5 bytes; keyspace \"default\" takes 8 (dstk.keys.text pads)";
        assert_eq!(error, ClientError::KeyLength(text.into()));
        let big = client
            .put(key("a"), vec![0; (1 << 20) + 1], Condition::NONE)
            .await;
        assert!(matches!(big, Err(ClientError::TooLarge(_))));
        assert!(
            client
                .put(key("a"), vec![0; 1 << 20], Condition::NONE)
                .await
                .is_ok()
        );
        let unlimited = client.scan(range("", "", 0, false)).await;
        assert!(matches!(unlimited, Err(ClientError::ScanLimit(_))));
        let backwards = client.scan(range("b", "a", 1, false)).await;
        assert!(matches!(backwards, Err(ClientError::InvalidRange(_))));
        let nowhere = Client::connect(
            std::slice::from_ref(&pod.address),
            "nowhere",
            ClientSettings::default(),
        )
        .await;
        assert!(matches!(
            nowhere.map(|_| ()),
            Err(ClientError::UnknownKeyspace(_))
        ));
        client.close(|| {});
        assert!(matches!(
            client.get(key("a")).await,
            Err(ClientError::Invalid(_))
        ));
    });
}

#[test]
fn the_plain_methods_say_the_same() {
    let (runtime, pod, _client) = one_pod();
    runtime.block_on(async {
        let mut plain = DataClient::connect(format!("http://{}", pod.address))
            .await
            .unwrap();
        let keyspace = || KEYSPACE.to_owned();
        let put = PutRequest {
            keyspace: keyspace(),
            key: key("a").into(),
            value: "v".into(),
            condition: 0,
        };
        let written = plain.put(put.clone()).await.unwrap().into_inner();
        assert_eq!(written.code(), Code::Ok);
        let get = GetRequest {
            keyspace: keyspace(),
            key: key("a").into(),
        };
        let read = plain.get(get).await.unwrap().into_inner();
        assert_eq!(
            (read.code(), &read.value[..], read.version),
            (Code::Ok, &b"v"[..], written.version)
        );
        let absent = plain
            .put(PutRequest {
                condition: 1,
                ..put
            })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(absent.code(), Code::VersionMismatch);
        let short = plain
            .get(GetRequest {
                keyspace: keyspace(),
                key: "a".into(),
            })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(short.code(), Code::Invalid);
        assert!(short.message.contains("1 bytes"), "{}", short.message);
        let delete = DeleteRequest {
            keyspace: keyspace(),
            key: key("a").into(),
            condition: 0,
        };
        assert_eq!(
            plain
                .delete(delete.clone())
                .await
                .unwrap()
                .into_inner()
                .code(),
            Code::Ok
        );
        assert_eq!(
            plain.delete(delete).await.unwrap().into_inner().code(),
            Code::NoRow
        );
        let unlimited = ScanRequest {
            keyspace: keyspace(),
            ..Default::default()
        };
        assert_eq!(
            plain.scan(unlimited).await.unwrap().into_inner().code(),
            Code::Invalid
        );
        let elsewhere = GetRequest {
            keyspace: "nowhere".into(),
            key: key("a").into(),
        };
        assert_eq!(
            plain.get(elsewhere).await.unwrap().into_inner().code(),
            Code::UnknownKeyspace
        );
        let mut routes = plain
            .routes(RoutesRequest {
                keyspace: keyspace(),
            })
            .await
            .unwrap()
            .into_inner();
        let first = routes.message().await.unwrap().unwrap();
        assert!(first.full);
        assert_eq!(first.keyspaces[0].routes[0].partition, "p");
    });
}

#[test]
fn a_damaged_batch_ends_the_stream_and_wrong_keys_only_their_operations() {
    let (runtime, pod, client) = one_pod();
    runtime.block_on(async {
        let mut plain = DataClient::connect(format!("http://{}", pod.address))
            .await
            .unwrap();
        let wrong_keys = Batch {
            keyspace: KEYSPACE.into(),
            ids: vec![7],
            kinds: vec![0].into(),
            keys: "abc".into(),
            ..Default::default()
        };
        let damaged = Batch {
            kinds: vec![0, 1].into(),
            ..wrong_keys.clone()
        };
        let batches = tokio_stream::iter([wrong_keys, damaged]);
        let mut replies = plain.stream(batches).await.unwrap().into_inner();
        let first = replies.message().await.unwrap().unwrap();
        assert_eq!((first.ids, first.codes[0]), (vec![7], Code::Invalid as u8));
        assert!(first.failures[0].message.contains("3 bytes"));
        let status = replies.message().await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert!(
            client.put(key("a"), "v", Condition::NONE).await.is_ok(),
            "others go on"
        );
    });
}

#[test]
fn a_worker_that_stops_leaves_no_outcome_unknown() {
    let (runtime, pod, _client) = one_pod();
    let settings = ClientSettings {
        timeout: std::time::Duration::from_secs(2),
        ..ClientSettings::default()
    };
    let client = runtime
        .block_on(Client::connect(
            std::slice::from_ref(&pod.address),
            KEYSPACE,
            settings,
        ))
        .unwrap();
    let writing: Vec<_> = (0..8)
        .map(|task| {
            let client = client.clone();
            runtime.spawn(async move {
                for number in 0_u64.. {
                    let text = number.to_le_bytes().to_vec();
                    match client
                        .put(key(&format!("{task}")), text, Condition::NONE)
                        .await
                    {
                        Ok(_) => {}
                        Err(error) => return error,
                    }
                }
                unreachable!("it writes until the worker is gone")
            })
        })
        .collect();
    common::eventually("the writers are at work", || pod.state("p").sequence > 100);
    pod.worker.stop(std::time::Duration::from_secs(60));
    for writer in writing {
        let error = runtime.block_on(writer).unwrap();
        assert!(!matches!(error, ClientError::OutcomeUnknown(_)), "{error}");
    }
}
