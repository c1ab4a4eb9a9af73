//! PDTrim (arXiv 2509.04467): drop transformer blocks per stage, and send only the KV of first and last tokens in
//! layers where that is enough. \[P\] is published, by the paper or its reviews; \[R\] is our resolution of what
//! neither says.
//!
//! How a plan is made, and where its numbers come from:
//!
//! 1. [`redundancy`]: `s_l` of each block and stage, from residual streams that the caller feeds; the pruning and the
//!    distillation set.
//! 2. [`search`]: the blocks that prefill drops, then those that decode drops, by an energy that the caller measures.
//! 3. [`concentration`]: the layers that send first and last tokens only; [`retention`]: which tokens these are;
//!    [`bytes`]: the share of bytes that is still sent.
//! 4. [`document`] is `plan.json`, [`plan`] its checked form, [`id`](mod@id) its identity.

pub mod block_set;
pub mod bytes;
pub mod check;
pub mod concentration;
pub mod document;
pub mod id;
pub mod plan;
pub mod redundancy;
pub mod retention;
pub mod search;

pub use block_set::BlockSet;
pub use bytes::bytes_fraction;
pub use check::{PlanError, RepairFault};
pub use document::{
    Calibration, KvRule, PlanDocument, Removed, Repair, Rule, Scores, SearchLog, Stage, StageKind, TierRule,
};
pub use id::id;
pub use plan::{Bypass, Plan, Role};
pub use retention::{Ends, Retention};
