//! What the prefill and the decode program share, so that neither has to know the other: [`settings`], [`identity`]
//! (what a node says of itself), [`advice`] (what holds where a request does not say),
//! [`handshake`] (what a request must agree to), [`host`] (gRPC with health, reflection
//! and graceful stop), [`respond`] (the frame around a request), [`memory`] (the KV pool), [`plan`] (the pruning plan),
//! [`prefix`] (finished KV by what it was computed from), [`program`] (the way from arguments to a serving process), [`life`] (the
//! engine thread, whose end is the node's), [`bell`] (its wake-up call), [`steps`] (how finely KV is shipped), [`leash`]
//! (cancel on drop), [`places`] (a queue's bound), [`link`] (how fast the way to another node is), [`intake`] (what callers
//! may have under way).

pub mod advice;
pub mod bell;
pub mod handshake;
pub mod host;
pub mod identity;
pub mod intake;
pub mod leash;
pub mod life;
pub mod link;
pub mod memory;
pub mod places;
pub mod plan;
pub mod prefix;
pub mod program;
pub mod respond;
pub mod settings;
pub mod steps;

pub use advice::Precision;
pub use bell::Bell;
pub use host::Host;
pub use identity::Identity;
pub use leash::Leash;
pub use life::Life;
pub use places::{Place, Places};
pub use plan::NodePlan;
pub use respond::{Responses, Terms, respond};
pub use settings::{ListenError, NodeSettings};
