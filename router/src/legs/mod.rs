//! A request's two legs, prefill and decode: they share one epoch and one deadline, and when one ends so does the
//! other.
//!
//! ```text
//!   router ── Decode.Generate ──▶ D      Opened: the epoch waits for KV
//!   router ── Prefill.Run ──────▶ P      FirstToken ... PrefillDone
//!                P ── Ship ─────▶ D
//!   router ◀─ Tokens, DecodeDone ─ D
//! ```
//!
//! [`open()`] brings both legs up to the first token, and `retry` tries other pairs until that succeeds. [`Legs`] then
//! hands out tokens, or the failure of a node that has gone silent. [`Run`] starts a further attempt where one ends
//! before its answer does: the [`Order`] stays the same, and [`SoFar`] says where to continue. Dropping any of them
//! drops both streams, which cancels the work on both nodes.
//!
//! A vector has one leg, which ships nothing: [`embed()`] asks one prefill node after another for it.

mod account;
mod call;
mod embed;
mod failure;
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
pub use embed::{EmbedOrder, embed, of_other_length};
pub use failure::LegFailure;
pub use open::open;
pub use order::{Order, RequestIds};
pub use run::{Run, Step};
pub use running::{Legs, Progress, Reports, Token};
pub use so_far::SoFar;
