//! Pictures that a request names by URL, where the operator allows it: which URLs may be fetched, and their download.
//!
//! ```text
//! URL ▸ target: scheme, port, allow-list ▸ shelf: cached, or under way already ▸ slot ▸ [ addresses ▸ dial ▸ answer ]
//!                                                                                  └─ once more for each redirect ─┘
//! ```
//!
//! Clients choose what the router connects to here, so every step is a check. The addresses of a name are looked up
//! once for each hop, all of them must be public (`address.rs`), and the connection goes to one of those very addresses.
//! What may be fetched is decided by plain functions (`hosts.rs`, `target.rs`); sockets are in `dial.rs` and
//! `download.rs`.

mod address;
mod cache;
mod dial;
mod download;
mod failure;
mod fetcher;
mod hosts;
mod shelf;
mod target;
#[cfg(test)]
mod tests;
mod trust;

pub use dial::Means;
pub use failure::Failure;
pub use fetcher::{Bounds, Fetcher};
pub use hosts::{HostRule, HostRuleError};
pub use trust::{TrustError, system_trust};
