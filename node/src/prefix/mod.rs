//! Finished KV blocks by what they were computed from: prefill finds prompts that begin alike, decode what it was shipped
//! for an earlier turn of a conversation.
//!
//! ```text
//! cache.rs    which blocks there are, who uses them, which goes first (plain data)
//! shared.rs   the same for a whole node: what a prompt uses stays known until all are done with it
//! ```

mod cache;
mod shared;

pub use cache::{Key, PictureDigest, PrefixCache, keys};
pub use shared::{SharedPrefix, Used, UsedView};
