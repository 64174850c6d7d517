//! An address that passes to a worker of another cluster, or to another worker: nobody reads or writes there.

mod common;

use std::time::Duration;

use common::{KEYSPACE, Pod, Range, eventually, key, push, runtime};
use dstk_net::Client;
use dstk_net::client::{ScanRange, Scanned};
use dstk_net::error::ClientError;
use dstk_net::operation::Condition;
use dstk_net::settings::ClientSettings;
use dstk_net::wire::data_client::DataClient;
use dstk_net::wire::{Code, GetRequest};
use tokio::runtime::Runtime;

const ANY: &str = "127.0.0.1:0";
const ALL: &[Range<'static>] = &[("p", "", "", 1, "w0")];

fn connect(runtime: &Runtime, addresses: &[&str], timeout: Duration) -> Client {
    let addresses: Vec<String> = addresses.iter().map(|address| (*address).into()).collect();
    let settings = ClientSettings {
        timeout,
        ..ClientSettings::default()
    };
    runtime
        .block_on(Client::connect(&addresses, KEYSPACE, settings))
        .unwrap()
}

/// A worker of `cluster` that serves all keys, with one row that tells whose it is.
fn serving(runtime: &Runtime, cluster: &str, name: &str, address: &str) -> Pod {
    let pod = Pod::of(cluster, name, address);
    pod.serve("p", 1, "", "");
    push(&[&pod], &[("p", "", "", 1, name)]);
    let client = connect(runtime, &[&pod.address], Duration::from_secs(30));
    runtime
        .block_on(client.put(key("whose"), cluster.to_owned(), Condition::NONE))
        .unwrap();
    pod
}

fn whole() -> ScanRange {
    ScanRange {
        start: "".into(),
        end: "".into(),
        limit: 100,
        reverse: false,
    }
}

fn is_retryable<T: std::fmt::Debug>(result: Result<T, ClientError>) -> bool {
    matches!(
        result,
        Err(ClientError::Unavailable(_) | ClientError::DeadlineExceeded(_))
    )
}

/// The one worker that the client knows goes, and one of another cluster has its address, name, keyspace and partition.
#[test]
fn a_client_reads_and_writes_nothing_of_another_cluster_at_the_address() {
    let runtime = runtime();
    let ours = serving(&runtime, "a", "w0", ANY);
    let address = ours.address.clone();
    let client = connect(&runtime, &[&address], Duration::from_secs(1));
    let (get, scan) = (client.get(key("whose")), client.scan(whole()));
    assert_eq!(&runtime.block_on(get).unwrap().unwrap().value[..], b"a");
    assert_eq!(runtime.block_on(scan).unwrap().rows.len(), 1);
    ours.worker.stop(Duration::ZERO);
    let theirs = serving(&runtime, "b", "w0", &address);
    let before = theirs.state("p").sequence;
    runtime.block_on(async {
        let error = client.get(key("whose")).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&format!("{address} is worker w0 of another cluster (b)")),
            "{text}"
        );
        assert!(is_retryable(Err::<(), _>(error)), "{text}");
        assert!(is_retryable(
            client.put(key("a"), "v", Condition::NONE).await
        ));
        assert!(is_retryable(
            client.delete(key("whose"), Condition::NONE).await
        ));
        assert!(is_retryable::<Scanned>(client.scan(whole()).await));
    });
    assert_eq!(theirs.state("p").sequence, before);
}

/// Two first addresses, one of which is another cluster's from the start, or becomes so.
#[test]
fn a_client_goes_on_with_its_own_cluster_through_its_other_addresses() {
    let runtime = runtime();
    let (first, second) = (Pod::of("a", "w0", ANY), Pod::of("a", "w1", ANY));
    first.serve("p", 1, "", "m");
    second.serve("q", 1, "m", "");
    let ranges = [("p", "", "m", 1, "w0"), ("q", "m", "", 1, "w1")];
    push(&[&first, &second], &ranges);
    let addresses = [&*first.address, &*second.address];
    let client = connect(&runtime, &addresses, Duration::from_secs(30));
    let put = |name: &'static str, value: &'static str| {
        runtime.block_on(client.put(key(name), value, Condition::NONE))
    };
    put("a", "1").unwrap();
    put("z", "1").unwrap();
    let address = first.address.clone();
    first.worker.stop(Duration::ZERO);
    let theirs = serving(&runtime, "b", "w0", &address);
    let before = theirs.state("p").sequence;
    // Its partition is served by the other worker by now, which the client is not told of in advance.
    second.serve("p2", 2, "", "m");
    push(&[&second], &[("p2", "", "m", 2, "w1"), ranges[1]]);
    put("a", "2").unwrap();
    put("z", "2").unwrap();
    assert_eq!(theirs.state("p").sequence, before);
    assert_eq!(second.state("p2").rows, 1);
}

#[test]
fn a_worker_passes_nothing_on_to_another_cluster() {
    let runtime = runtime();
    let (entry, owner) = (Pod::of("a", "w1", ANY), serving(&runtime, "a", "w0", ANY));
    let address = owner.address.clone();
    push(&[&entry, &owner], ALL);
    // It is never told of an address of the owner's, so all goes through the entry.
    let client = connect(&runtime, &[&entry.address], Duration::from_secs(1));
    let get = || runtime.block_on(client.get(key("whose")));
    assert_eq!(&get().unwrap().unwrap().value[..], b"a");
    owner.worker.stop(Duration::ZERO);
    let theirs = serving(&runtime, "b", "w0", &address);
    let before = theirs.state("p").sequence;
    assert!(is_retryable(get()));
    let put = runtime.block_on(client.put(key("a"), "v", Condition::NONE));
    assert!(is_retryable(put));
    assert!(is_retryable(runtime.block_on(client.scan(whole()))));
    assert_eq!(theirs.state("p").sequence, before);
}

/// What another worker of the same cluster has at the address is not what was meant either.
#[test]
fn a_call_for_one_worker_is_not_answered_by_another_at_its_address() {
    let runtime = runtime();
    let (entry, owner) = (Pod::of("a", "w1", ANY), serving(&runtime, "a", "w0", ANY));
    push(&[&entry, &owner], ALL);
    let get = || {
        runtime.block_on(async {
            let mut plain = DataClient::connect(format!("http://{}", entry.address))
                .await
                .unwrap();
            let get = GetRequest {
                keyspace: KEYSPACE.into(),
                key: key("whose").into(),
            };
            plain.get(get).await.unwrap().into_inner()
        })
    };
    assert_eq!(get().code(), Code::Ok);
    let address = owner.address.clone();
    owner.worker.stop(Duration::ZERO);
    let _other = serving(&runtime, "a", "w2", &address);
    let expected = format!("{address} is worker w2, not w0");
    eventually("what is passed on meets the other", || {
        let reply = get();
        assert_eq!(reply.code(), Code::Unavailable, "{}", reply.message);
        reply.message.contains(&expected)
    });
}

#[test]
fn a_follower_takes_no_rows_of_another_cluster() {
    let runtime = runtime();
    let (source, follower) = (serving(&runtime, "a", "w0", ANY), Pod::of("a", "w1", ANY));
    follower.follow("p", 1, "", "", &source, &source.address);
    let progress = || follower.state("p").follow.expect("it follows");
    eventually("it has caught up", || progress().caught_up);
    let address = source.address.clone();
    source.worker.stop(Duration::ZERO);
    // With the same incarnation, which two clusters could hand out: the cluster alone tells them apart.
    let theirs = serving(&runtime, "b", "w0", &address);
    eventually("it says why it does not go on", || {
        progress().error.contains("of another cluster (b)")
    });
    assert_eq!(theirs.counter("log_readers"), 0);
    assert_eq!(follower.state("p").rows, 1);
}

/// A client that comes before the worker knows its cluster, and waits.
#[test]
fn a_stream_from_before_the_worker_joined_is_not_used_after() {
    let runtime = runtime();
    let ours = serving(&runtime, "a", "w0", ANY);
    let address = ours.address.clone();
    let client = connect(&runtime, &[&address], Duration::from_secs(1));
    assert!(runtime.block_on(client.get(key("whose"))).is_ok());
    ours.worker.stop(Duration::ZERO);
    let theirs = Pod::at_address(&address, "w0");
    // It serves nothing and has no routes: but the client's connection to it stands.
    assert!(is_retryable(runtime.block_on(client.get(key("whose")))));
    theirs.worker.join("b").unwrap();
    theirs.serve("p", 1, "", "");
    push(&[&theirs], ALL);
    let put = runtime.block_on(client.put(key("a"), "v", Condition::NONE));
    assert!(is_retryable(put));
    assert!(is_retryable(runtime.block_on(client.scan(whole()))));
    assert_eq!(theirs.state("p").sequence, 0);
}

/// Who says nothing of a cluster, as versions before did, is not asked for one.
#[test]
fn without_an_operator_that_names_a_cluster_all_goes_on_as_before() {
    let runtime = runtime();
    let (one, two) = (Pod::start("w0"), Pod::start("w1"));
    one.serve("p", 1, "", "");
    push(&[&one, &two], ALL);
    let client = connect(&runtime, &[&two.address], Duration::from_secs(30));
    let put = |value: &'static str| runtime.block_on(client.put(key("a"), value, Condition::NONE));
    put("1").unwrap();
    // The operator is replaced by one that does, and speaks to one worker after the other.
    one.worker.join("a").unwrap();
    put("2").unwrap();
    two.worker.join("a").unwrap();
    put("3").unwrap();
    let row = runtime.block_on(client.get(key("a"))).unwrap().unwrap();
    assert_eq!(&row.value[..], b"3");
}

#[test]
fn a_worker_joins_one_cluster_only() {
    let pod = Pod::of("a", "w0", ANY);
    assert!(pod.worker.join("a").is_ok());
    let text = pod.worker.join("b").unwrap_err().to_string();
    assert!(text.contains("belongs to cluster a, not to b"), "{text}");
}

#[test]
fn a_client_may_name_the_cluster_that_it_means() {
    let runtime = runtime();
    let theirs = serving(&runtime, "b", "w0", ANY);
    let ours = serving(&runtime, "a", "w0", ANY);
    let connect = |addresses: &[&String]| {
        let addresses: Vec<String> = addresses.iter().map(|address| (*address).clone()).collect();
        let settings = ClientSettings {
            timeout: Duration::from_secs(1),
            cluster: "a".into(),
            ..ClientSettings::default()
        };
        runtime.block_on(Client::connect(&addresses, KEYSPACE, settings))
    };
    let Err(error) = connect(&[&theirs.address]) else {
        panic!("it has connected to another cluster");
    };
    assert!(
        error.to_string().contains("of another cluster (b)"),
        "{error}"
    );
    let client = connect(&[&theirs.address, &ours.address]).unwrap();
    let row = runtime.block_on(client.get(key("whose"))).unwrap().unwrap();
    assert_eq!(&row.value[..], b"a");
}
