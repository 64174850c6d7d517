//! The network around the core: data server, replication, forwarding, client. No Python.

pub mod client;
pub mod codec;
pub mod connection;
pub mod error;
mod executor;
mod faults;
pub mod identity;
mod listener;
pub mod operation;
pub mod peers;
pub mod replicate;
pub mod routes;
mod server;
pub mod settings;
mod stream;
mod threads;
pub mod worker;

pub use client::Client;
pub use worker::Worker;

/// The wire contract, generated from `proto/dstk/v1/data.proto`.
#[allow(missing_docs, clippy::all, reason = "generated")]
pub mod wire {
    tonic::include_proto!("dstk.v1");
}
