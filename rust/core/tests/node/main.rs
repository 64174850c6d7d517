//! The node as a worker's network sees it: two of them, in one process, with the test playing the network.
#![allow(missing_docs, reason = "tests")]

mod actions;
mod harness;
mod holding;
mod model;
mod moving;
mod room;
mod routes;
mod scanning;
mod threads;
