//! Generates the wire code from `proto/` with protox: no protoc on the machine is needed.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Asked when it runs: a build folder that several clones share keeps the script of one of them.
    let root = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    let files = ["types", "event", "job", "node", "link", "cluster", "peer"]
        .map(|name| root.join(format!("recode/v1/{name}.proto")));
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(&files, [&root])?;
    // For reflection: clients such as grpcurl read the API from the server. What nodes say to each other is no part of it.
    let mut served = descriptors.clone();
    served
        .file
        .retain(|file| file.name() != "recode/v1/peer.proto");
    let out = Path::new(&std::env::var("OUT_DIR")?).join("recode.v1.bin");
    std::fs::write(out, prost::Message::encode_to_vec(&served))?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
