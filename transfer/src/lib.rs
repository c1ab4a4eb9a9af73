//! The token-aware transfer layer: which KV is shipped from prefill to decode, its frames, its checks and its
//! accounting. No candle, no sockets: bytes and messages in, bytes and messages out.
//!
//! A shipment is one call: a [`manifest`]; then, when the receiver is ready, [`frame`]s of separately coded
//! [`span::Part`]s ([`codec`]), while prefill computes the next rows; then a closing frame with a [`digest`] over all
//! frames. The receiver ([`receive::Receiver`]) refuses everything that does not match (see [`refusal`]).
//! docs/transfer.md describes the wire format.

pub mod codec;
pub mod cost;
pub mod digest;
pub mod dtype;
pub mod extent;
pub mod frame;
pub mod manifest;
pub mod policy;
pub mod receipt;
pub mod receive;
pub mod refusal;
pub mod send;
pub mod span;
pub mod tiers;
pub mod visual;

pub use codec::{Codec, Grain};
pub use dtype::DType;
pub use extent::Extent;
pub use manifest::{BlockKeys, KvShape, LayerEntry, Manifest, Parties};
pub use policy::TransferPolicy;
pub use receive::Receiver;
pub use refusal::Refusal;
pub use send::Sender;
pub use span::{CodedSpan, TokenSpan};
pub use tiers::Tiers;

/// Version of the transfer format. A receiver refuses every other version.
pub const FORMAT_VERSION: u32 = 5;
