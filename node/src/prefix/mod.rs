//! Cache of finished KV blocks, keyed by the rows that they were computed from. Prefill reuses blocks of prompts that
//! begin alike, decode those that were shipped to it for an earlier turn of a conversation.
//!
//! ```text
//! cache.rs    the blocks by key, their users and the eviction order (plain data, no locks)
//! shared.rs   one cache shared by a whole node: a prompt's blocks stay cached until every user has dropped them
//! ```

mod cache;
mod shared;

pub use cache::{Key, PictureDigest, PrefixCache, keys};
pub use shared::{SharedPrefix, Used, UsedView};
