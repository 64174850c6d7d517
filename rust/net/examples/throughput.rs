//! Operations a second over loopback: one worker, one client, both in this process.
//!
//! `cargo run --release -p dstk-net --example throughput [callers] [seconds]`; 64 callers and 3 seconds unless told
//! otherwise. Each caller has one operation under way at a time.

mod common;

use std::error::Error;
use std::time::Duration;

use dstk_core::node::{Node, Settings};

use common::{VALUE_BYTES, Verb, measure, serving};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let callers: u64 = arguments.next().map_or(Ok(64), |text| text.parse())?;
    let seconds: f64 = arguments.next().map_or(Ok(3.0), |text| text.parse())?;
    let node = Node::new("w0", "w0/1", Settings::default());
    let (worker, client) = serving(node, false)?;
    for (what, verb) in [("put", Verb::Put), ("get", Verb::Get)] {
        let (_, rate) = measure(&client, verb, callers, seconds)?;
        println!(
            "{what}: {rate:.0} operations/s from {callers} callers, {VALUE_BYTES}-byte values"
        );
    }
    client.close(|| {});
    worker.stop(Duration::from_secs(5));
    Ok(())
}
