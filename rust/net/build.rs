//! Compiles the data plane's contract in pure Rust: no protoc on the path.

use std::error::Error;
use std::path::Path;

const CONTRACT: &str = "dstk/v1/data.proto";

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.join(CONTRACT).display());
    let descriptors = protox::compile([CONTRACT], [root])?;
    // Bytes, so that columns are slices of the buffer that the message arrived in.
    tonic_prost_build::configure()
        .bytes(".")
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
