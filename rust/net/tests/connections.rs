//! Connections end with those at their ends.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::{Cutter, Pod, connect, eventually, key, runtime, table};
use dstk_core::node::Settings;
use dstk_net::operation::Condition;
use dstk_net::settings::{ConnectionSettings, WorkerSettings};

#[test]
fn a_client_that_is_closed_leaves_no_connection() {
    let (runtime, pod) = (runtime(), Pod::start("w0"));
    let cutter = Cutter::before(&pod.address);
    pod.serve("p", 1, "", "");
    pod.node()
        .apply_routes(&table(
            &[("w0", &cutter.address)],
            &[("p", "", "", 1, "w0")],
        ))
        .unwrap();
    for closes in [true, false] {
        let client = connect(&runtime, &[&cutter.address]);
        let put = client.put(key("a"), "v", Condition::NONE);
        runtime.block_on(put).unwrap();
        assert_ne!(cutter.relays(), 0);
        if closes {
            client.close(|| {});
        }
        drop(client);
        eventually("its connections end", || cutter.relays() == 0);
    }
}

/// The first bytes of a connection that takes frames of `max_frame` bytes.
fn hello(max_frame: u32) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend_from_slice(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 5]);
    bytes.extend_from_slice(&max_frame.to_be_bytes());
    bytes
}

#[test]
fn a_peer_that_does_not_answer_any_more_is_let_go() {
    let network = WorkerSettings {
        connection: ConnectionSettings {
            keepalive: Duration::from_millis(100),
            ..ConnectionSettings::default()
        },
        ..WorkerSettings::default()
    };
    let pod = Pod::with("w0", Settings::default(), network);
    for max_frame in [16 << 10, 1 << 20] {
        let mut silent = TcpStream::connect(&pod.address).unwrap();
        silent
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        silent.write_all(&hello(max_frame)).unwrap();
        let mut heard = Vec::new();
        // It may be reset as well as closed; a time-out is neither.
        if let Err(error) = silent.read_to_end(&mut heard) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
    }
}
