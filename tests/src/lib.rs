//! Support for the end-to-end tests: roles as real processes ([`role`]), a local cluster of them ([`cluster`]), a TCP
//! proxy that counts, cuts and corrupts ([`proxy`], [`corruption`]), and the demo's evaluation suite ([`suite`]).

pub mod cluster;
pub mod corruption;
pub mod proxy;
pub mod role;
pub mod suite;

use std::path::PathBuf;

/// A path inside the repository.
pub fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
