//! A worker that stands still for longer than its lease tells nobody what it did under it: others may have served the
//! keys meanwhile.

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use common::{KEY_LENGTH, KEYSPACE, connect, eventually, key, runtime, table};
use dstk_core::faults::{Point, set_hook};
use dstk_core::node::{Node, Settings};
use dstk_net::Worker;
use dstk_net::error::ClientError;
use dstk_net::operation::Condition;
use dstk_net::settings::WorkerSettings;
use dstk_net::wire::data_client::DataClient;
use dstk_net::wire::{Code, GetRequest, PutRequest, ScanRequest};

static SHUT: Mutex<bool> = Mutex::new(false);
static OPENED: Condvar = Condvar::new();
static WAITING: AtomicUsize = AtomicUsize::new(0);
static HOOKED: AtomicBool = AtomicBool::new(false);

/// From now on the disk stands still when it is asked to sync.
fn shut() {
    if !HOOKED.swap(true, Ordering::SeqCst) {
        assert!(set_hook(Box::new(|point, _| {
            if point == Point::AfterLogWrite {
                let shut = SHUT.lock().unwrap();
                WAITING.fetch_add(1, Ordering::SeqCst);
                drop(OPENED.wait_while(shut, |shut| *shut).unwrap());
                WAITING.fetch_sub(1, Ordering::SeqCst);
            }
            Ok(())
        })));
    }
    *SHUT.lock().unwrap() = true;
}

fn open() {
    *SHUT.lock().unwrap() = false;
    OPENED.notify_all();
}

const LEASE: Duration = Duration::from_secs(3600);

#[test]
fn what_was_done_under_a_lease_that_ran_out_is_told_to_nobody() {
    let dir = std::env::temp_dir().join(format!("dstk-lease-{}", std::process::id()));
    let node = Node::open("w0", "w0-uid/1", Settings::default(), &dir).unwrap();
    let worker = Arc::new(Worker::new(node, WorkerSettings::default()).unwrap());
    let address = worker.listen("127.0.0.1:0").unwrap().to_string();
    let node = Arc::clone(worker.node());
    node.set_lease(KEYSPACE, KEY_LENGTH, LEASE.as_nanos() as u64)
        .unwrap();
    node.renew(worker.now(), worker.now());
    node.serve(KEYSPACE, "p", 1, KEY_LENGTH, b"", b"", true, worker.now())
        .unwrap();
    node.apply_routes(&table(&[("w0", &address)], &[("p", "", "", 1, "w0")]))
        .unwrap();
    let runtime = runtime();
    let client = Arc::new(connect(&runtime, &[&address]));
    runtime
        .block_on(client.put(key("a"), b"old".to_vec(), Condition::NONE))
        .unwrap();

    shut();
    let streamed = {
        let client = Arc::clone(&client);
        runtime.spawn(async move {
            let put = client.put(key("a"), b"new".to_vec(), Condition::NONE);
            put.await
        })
    };
    eventually("the write waits for the disk", || {
        WAITING.load(Ordering::SeqCst) > 0
    });
    let plain = runtime
        .block_on(DataClient::connect(format!("http://{address}")))
        .unwrap();
    let put = {
        let mut plain = plain.clone();
        runtime.spawn(async move {
            let put = PutRequest {
                keyspace: KEYSPACE.into(),
                key: key("b").into(),
                value: "new".into(),
                condition: 0,
            };
            plain.put(put).await.unwrap().into_inner()
        })
    };
    let get = {
        let mut plain = plain.clone();
        runtime.spawn(async move {
            let get = GetRequest {
                keyspace: KEYSPACE.into(),
                key: key("a").into(),
            };
            plain.get(get).await.unwrap().into_inner()
        })
    };
    let scan = {
        let mut plain = plain.clone();
        runtime.spawn(async move {
            let scan = ScanRequest {
                keyspace: KEYSPACE.into(),
                limit: 10,
                ..Default::default()
            };
            plain.scan(scan).await.unwrap().into_inner()
        })
    };
    eventually("all four are carried out", || {
        let counter = |name: &str| {
            let counters = worker.counters();
            let found = counters.into_iter().find(|(known, _)| *known == name);
            found.unwrap_or_else(|| panic!("no counter {name}")).1
        };
        counter("operations_answered_total") >= 4 && counter("scans_total") == 1
    });
    // Nothing is heard of an operator for longer than the lease; then one is.
    let late = worker.now() + 2 * LEASE.as_nanos() as u64;
    assert_eq!(node.lapse(late), 1);
    node.renew(worker.now(), worker.now());
    open();

    let told = runtime.block_on(streamed).unwrap();
    assert!(
        matches!(told, Err(ClientError::OutcomeUnknown(_))),
        "{told:?}"
    );
    let put = runtime.block_on(put).unwrap();
    assert_eq!(put.code(), Code::OutcomeUnknown, "{put:?}");
    let get = runtime.block_on(get).unwrap();
    assert_eq!(get.code(), Code::Unavailable, "{get:?}");
    let scan = runtime.block_on(scan).unwrap();
    assert_eq!(scan.code(), Code::Unavailable, "{scan:?}");
    client.close(|| {});
    worker.stop(Duration::from_secs(1));
    std::fs::remove_dir_all(dir).unwrap();
}
