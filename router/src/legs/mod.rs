//! A request's two legs: one epoch, one deadline, and either both or none.
//!
//! ```text
//!   router ── Decode.Generate ──▶ D      Opened: KV is reserved
//!   router ── Prefill.Run ──────▶ P      FirstToken ... PrefillDone
//!                P ── Ship ─────▶ D
//!   router ◀─ Tokens, DecodeDone ─ D
//! ```
//!
//! [`open`] brings both up to the first token, [`start`](retry::start) tries other pairs until that holds, and [`Legs`]
//! then hands out tokens. Dropping `Legs` drops both streams, which cancels the work on both nodes.

mod node_error;
mod open;
mod order;
pub mod retry;
mod running;

pub use open::{LegFailure, open};
pub use order::{Order, RequestIds};
pub use running::{Legs, Progress, Reports};
