//! Compiles the data plane's contract in pure Rust: no protoc on the path.

use std::env;
use std::error::Error;
use std::path::PathBuf;

const CONTRACT: &str = "dstk/v1/data.proto";

fn main() -> Result<(), Box<dyn Error>> {
    // As it is now: what is built is kept outside the tree, and another checkout may have built this script.
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.join(CONTRACT).display());
    let descriptors = protox::compile([CONTRACT], [root])?;
    // Bytes, so that columns are slices of the buffer that the message arrived in.
    tonic_prost_build::configure()
        .bytes(".")
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
