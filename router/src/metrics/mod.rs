//! What `/metrics` shows. vLLM's names and buckets where the meaning is the same, so that existing boards work; ours
//! beside them. Each help text states the figure's formula.

mod clock;
mod nodes;
mod registry;
mod tally;

pub use clock::RequestClock;
pub use nodes::{NodeFigures, NodeLabels};
pub use registry::{AttemptOutcome, LinkLabels, Metrics, Snapshot};
