//! Compiles the protocol with `protox`, so that `protoc` need not be installed.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let sources = [
        "secateur/v1/node.proto",
        "secateur/v1/prefill.proto",
        "secateur/v1/decode.proto",
        "secateur/v1/transfer.proto",
    ];
    for source in sources {
        println!("cargo:rerun-if-changed={source}");
    }
    let descriptors = protox::compile(sources, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // The descriptors are served by gRPC reflection.
    fs::write(out.join("secateur_descriptor.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Payloads arrive as slices of the receive buffer instead of copies.
        .bytes(".secateur.v1")
        .compile_fds(descriptors)?;
    Ok(())
}
