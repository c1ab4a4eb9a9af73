//! A request's two legs: one epoch, one deadline, and either both or none.
//!
//! ```text
//!   router ── Decode.Generate ──▶ D      Opened: the epoch waits for KV
//!   router ── Prefill.Run ──────▶ P      FirstToken ... PrefillDone
//!                P ── Ship ─────▶ D
//!   router ◀─ Tokens, DecodeDone ─ D
//! ```
//!
//! [`open()`] brings both up to the first token, `retry` tries other pairs until that holds, and [`Legs`] then hands out
//! tokens, or the failure of a node that says nothing any more. [`Run`] goes on with further attempts where one ends before
//! its answer does: the [`Order`] stays the same, and [`SoFar`] says where to go on. Dropping any of them drops both streams,
//! which cancels the work on both nodes.

mod account;
mod listen;
mod node_error;
mod open;
mod order;
mod patience;
mod retry;
mod run;
mod running;
mod search;
mod so_far;

pub use account::Account;
pub use open::{LegFailure, open};
pub use order::{Order, RequestIds};
pub use run::{Run, Step};
pub use running::{Legs, Progress, Reports, Token};
pub use so_far::SoFar;
