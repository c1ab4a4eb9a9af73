//! The token-aware transfer layer: what KV is shipped from prefill to decode, in which frames, checked by what, and
//! accounted how. No candle, no sockets: bytes and messages in, bytes and messages out.
//!
//! A shipment is one client-streaming call: a [`manifest`], then each layer's payload in [`frame`]s, then a closing
//! frame with [`digest`]s. The receiver's [`receive::Receiver`] refuses (see [`refusal`]) whatever does not match.

pub mod digest;
pub mod dtype;
pub mod frame;
pub mod manifest;
pub mod policy;
pub mod receipt;
pub mod receive;
pub mod refusal;
pub mod send;
pub mod span;
pub mod visual;

pub use dtype::DType;
pub use manifest::{KvShape, LayerEntry, Manifest, Parties};
pub use policy::{Extent, TransferPolicy};
pub use receive::Receiver;
pub use refusal::Refusal;
pub use send::Sender;
pub use span::TokenSpan;

/// Version of the transfer format. A receiver refuses every other.
pub const FORMAT_VERSION: u32 = 2;
