//! How long a worker takes to start with what it has on disk.
//!
//! `restart fill DIR ROWS PARTITIONS`: rows of 16-byte keys and 100-byte values, then a checkpoint.
//! `restart open DIR`: opens it; one JSON object on standard output, with the time that merely reading the same files
//! takes beside it.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use dstk_core::node::{Node, Settings};
use dstk_core::partition::{Op, Verdict, Waiter};

const KEYSPACE: &str = "default";
const KEY_LENGTH: usize = 16;
const VALUE_BYTES: usize = 100;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

struct Nobody;

impl Waiter for Nobody {
    fn resume(self: Box<Self>, _: Verdict) {}
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["fill", dir, rows, partitions] => fill(dir.as_ref(), rows.parse()?, partitions.parse()?),
        ["open", dir] => open(dir.as_ref()),
        _ => Err("restart fill DIR ROWS PARTITIONS, or restart open DIR".into()),
    }
}

fn key(number: u64, of: u64) -> [u8; KEY_LENGTH] {
    // Spread over all keys: the row's place, then something that is not in order.
    let mut key = [0; KEY_LENGTH];
    let place = (u128::from(number) << 64) / u128::from(of);
    key[..8].copy_from_slice(&(place as u64).to_be_bytes());
    key[8..].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key
}

fn fill(dir: &Path, rows: u64, partitions: u64) -> Result<(), Box<dyn Error>> {
    let node = Node::open("w", "w/1", Settings::default(), dir)?;
    for part in 0..partitions {
        let bound = |part: u64| match part {
            0 => Vec::new(),
            part if part == partitions => Vec::new(),
            part => key(part, partitions)[..8].to_vec(),
        };
        let name = format!("p{part}");
        let (start, end) = (bound(part), bound(part + 1));
        node.serve(KEYSPACE, &name, 1, KEY_LENGTH, &start, &end, true, 0)?;
    }
    let store = node.keyspace(KEYSPACE).ok_or("no keyspace")?;
    for step in 0..rows {
        // In an order that jumps about.
        let number = step.wrapping_mul(0x9e37_79b1) % rows;
        let key = key(number, rows);
        let op = Op::Put {
            key: &key,
            value: vec![number as u8; VALUE_BYTES].into(),
            condition: 0,
        };
        let after = match store.execute(op, 0, || Box::new(Nobody)) {
            dstk_core::node::Outcome::Done(reply) if reply.after > 0 => reply.after,
            other => return Err(format!("{other:?}").into()),
        };
        if step % 50_000 == 0 {
            let (sender, synced) = std::sync::mpsc::channel();
            node.when_durable(after, Box::new(move |outcome| drop(sender.send(outcome))));
            synced.recv()?.map_err(|reason| reason.to_string())?;
        }
    }
    node.checkpoint()?;
    node.close();
    Ok(())
}

fn open(dir: &Path) -> Result<(), Box<dyn Error>> {
    let read = || -> Result<(f64, u64), Box<dyn Error>> {
        let began = Instant::now();
        let mut bytes = 0;
        for entry in fs::read_dir(dir)? {
            let path: PathBuf = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("rows-") || name.starts_with("checkpoint") {
                bytes += fs::read(&path)?.len() as u64;
            }
        }
        Ok((began.elapsed().as_secs_f64(), bytes))
    };
    read()?;
    let (read_seconds, bytes) = read()?;
    let began = Instant::now();
    let node = Node::open("w", "w/2", Settings::default(), dir)?;
    let open_seconds = began.elapsed().as_secs_f64();
    let states = node.states(None, 0)?;
    let rows: u64 = states.iter().map(|state| state.rows).sum();
    println!(
        "{{\"rows\": {rows}, \"partitions\": {}, \"bytes\": {bytes}, \"read_seconds\": {read_seconds:.3}, \"open_seconds\": {open_seconds:.3}}}",
        states.len()
    );
    Ok(())
}
