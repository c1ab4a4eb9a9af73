//! What `/metrics` shows. vLLM's names and buckets where the meaning is the same, so that existing boards work; ours
//! beside them. Each help text states the figure's formula.

mod clock;
mod labels;
mod nodes;
mod registry;
mod tally;

pub use clock::RequestClock;
pub use labels::{AttemptOutcome, LinkLabels};
pub use nodes::{NodeFigures, NodeLabels};
pub use registry::{Metrics, Snapshot};
