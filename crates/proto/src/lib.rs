//! The wire: code generated from `proto/recode/v1`, and its translation to the vocabulary of `recode-types`.
//!
//! Generated types stop here: everybody else speaks `recode-types` and crosses over with [`convert`]. Translation never
//! guesses: a missing field or an unknown enum value is an [`convert::Error`] that names the field.

/// The generated messages, clients and servers of package `recode.v1`.
#[allow(
    missing_docs,
    reason = "generated; the comments of the .proto files are kept where prost keeps them"
)]
#[allow(clippy::all, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("recode.v1");
}

/// The API of coordinators as a `FileDescriptorSet`, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/recode.v1.bin"));

pub mod convert;
