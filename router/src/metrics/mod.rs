//! The metrics of `/metrics`. They use vLLM's names and buckets where the meaning is the same, so that existing
//! dashboards work, and `secateur_` names otherwise. Each help text states the figure's formula.

mod builder;
mod clock;
mod embedded;
mod keys;
mod known;
mod labels;
mod links;
mod nodes;
mod recent;
mod registry;
mod spread;
mod tally;
mod totals;
mod volume;
mod window;

pub use clock::{AnswerClock, Counted};
pub use labels::{AttemptOutcome, LinkLabels, PREEMPTED};
pub use nodes::{NodeFigures, NodeLabels};
pub use recent::Recent;
pub use registry::{Metrics, Snapshot};
pub use volume::KvBytes;
