//! Code shared by the prefill and the decode program, so that neither depends on the other: [`settings`], [`identity`]
//! (the node's unchanging description of itself), [`advice`] (defaults for what a request leaves open), [`grammars`] (what answers must look
//! like, compiled), [`handshake`]
//! (checks of a request against this node's model and plan), [`host`] (gRPC with health, reflection and graceful stop),
//! [`respond`] (event stream, deadline and cancellation of a request), [`memory`] (the size of the KV pool), [`plan`]
//! (the pruning plan), [`prefix`] (cached KV blocks, keyed by the rows that they were computed from), [`program`] (from
//! arguments to a serving process), [`life`] (the engine thread, whose end is the node's), [`bell`] (the engine's
//! wake-up call), [`steps`] (quantization steps of KV that is shipped with loss), [`leash`] (cancel on drop),
//! [`permits`] (a queue's bound), [`link`] (measured speed of the link to another node), [`intake`] (limits on what
//! callers may have in flight). Private are `sync` (what the bell is built from) and `tokenizer` (the file and the digest
//! of the checkpoint's tokenizer).

pub mod advice;
pub mod bell;
pub mod grammars;
pub mod handshake;
pub mod host;
pub mod identity;
pub mod intake;
pub mod leash;
pub mod life;
pub mod link;
pub mod memory;
pub mod permits;
pub mod plan;
pub mod prefix;
pub mod program;
pub mod respond;
pub mod settings;
pub mod steps;
mod sync;
mod tokenizer;

pub use advice::Precision;
pub use bell::Bell;
pub use grammars::Grammars;
pub use host::Host;
pub use identity::Identity;
pub use leash::Leash;
pub use life::Life;
pub use permits::{Permit, Permits};
pub use plan::NodePlan;
pub use respond::{Responses, Terms, respond};
pub use settings::{ListenError, NodeSettings};
