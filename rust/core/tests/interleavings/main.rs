//! What has to hold in whatever order the threads of a worker run: small cases, many orders or all of them.
//!
//! `make check-interleavings` runs them. A case that fails prints a schedule; `shuttle::replay` runs that one again.
#![allow(missing_docs, reason = "tests")]

mod durable;
mod fence;
mod flip;
mod follow;
#[allow(dead_code, reason = "tests/node uses more of it")]
#[path = "../node/harness.rs"]
mod harness;
mod hold;
mod reader;
mod serve;
mod world;
