//! Secateur's wire contract and nothing else: messages and services generated from `secateur/v1/*.proto`, the one
//! closed error code with its gRPC and HTTP mappings ([`error`]), and the name of a checkpoint ([`name`]).

pub mod error;
pub mod name;

/// Messages, clients and servers of `secateur.v1`.
#[allow(missing_docs, clippy::all, unused_qualifications)]
pub mod v1 {
    tonic::include_proto!("secateur.v1");
}

pub use error::{ErrorCode, ServiceError};
pub use name::checkpoint_name;

/// Version of the protocol, raised when messages change incompatibly. Nodes and routers of different versions refuse
/// each other.
pub const PROTOCOL_VERSION: u32 = 4;

/// Largest request that a prefill node accepts, in bytes; it includes the pictures.
pub const PREFILL_REQUEST_BYTES_MAX: usize = 256 << 20;

/// Most likely tokens that a prefill node reports in the place of each token of a scored prompt, at most.
pub const SCORE_TOP_MAX: u32 = 20;

/// The encoded `FileDescriptorSet`, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/secateur_descriptor.bin"));
