//! API keys: who may ask, how much, and how soon.
//!
//! ```text
//! file ▸ entries ▸ Keyring ── admit ▸ Caller ── answers ▸ Charge, one for each answer
//!   ▲                 ▲                  │                  │
//!   └── watch ────────┘                  └──▸ Account ◂─────┘   limits, what is left of them, usage
//! ```
//!
//! `file.rs` reads a file of keys, `parse.rs` validates it, and `watch.rs` brings its changes into force. `keyring.rs`
//! has the keys in force, found by digest (`digest.rs`). `account.rs` is the rate accounting of one key over its
//! buckets (`bucket.rs`), plain data with the time as an argument; `caller.rs` holds a request's and an answer's part
//! of it until they end.
//!
//! Keys themselves are kept nowhere: a digest is made of what a client sends, and compared.

mod account;
mod bucket;
mod caller;
mod digest;
mod entry;
mod file;
mod keyring;
mod parse;
mod refusal;
mod usage;
mod watch;

pub use self::{
    account::{Cost, Standing},
    bucket::Level,
    caller::{Caller, Charge},
    digest::KeyDigest,
    entry::{Limits, NAME_RULE, is_name},
    file::{KeysError, KeysFile},
    keyring::{Denial, Keyring, open},
    refusal::{Reason, Refusal},
    usage::{KeyFigures, Outcome, Usage},
    watch::watch,
};
