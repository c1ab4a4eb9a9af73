//! A row of the report: a scenario's figures, and the conditions that they were measured under.

use secateur_transfer::TransferPolicy;
use serde::Serialize;

use super::{
    arguments::BenchArguments,
    compare::ToDense,
    link::{Figures, Link},
    scenario::{Pace, Scenario},
    summary::Summary,
};

/// One row of the report; names and meaning are those of the documented JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub scenario: String,
    pub link: String,
    pub visual: String,
    pub transfer: String,
    /// Id of the pruning plan in force; empty if there is none.
    pub plan: String,
    /// Requests in flight; `None` if requests came at a rate.
    pub concurrency: Option<u32>,
    pub input_len: u32,
    pub output_len: u32,
    /// Requests sent, failed ones included.
    pub requests: u64,
    pub failed: u64,
    /// Rounds that the requests were spread over.
    pub rounds: usize,
    /// Comparison with the dense row of the same link and scenario; `None` if there is none, or this is it.
    pub to_dense: Option<ToDense>,
    #[serde(flatten)]
    pub figures: Figures,
    #[serde(flatten)]
    pub summary: Summary,
}

/// The conditions that a row was measured under.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub link: Link,
    /// Measurements of the link.
    pub figures: Figures,
    /// Requested policy; `None` leaves the choice to the router.
    pub policy: Option<TransferPolicy>,
    pub rounds: usize,
    pub to_dense: Option<ToDense>,
}

impl Summary {
    /// Makes a row from these figures and the conditions.
    pub fn row(self, scenario: &Scenario, arguments: &BenchArguments, head: Head) -> Row {
        let concurrency = match scenario.pace {
            Pace::Closed(concurrency) => Some(concurrency),
            Pace::Open(_) => None,
        };
        Row {
            scenario: scenario.pace.to_string(),
            link: head.link.to_string(),
            visual: arguments.visual.as_ref().map_or_else(|| "auto".to_owned(), ToString::to_string),
            // The requested policy, or the one that the receipts report.
            transfer: head.policy.map(|policy| policy.to_string()).or_else(|| self.policy.clone()).unwrap_or_default(),
            plan: self.plan.clone().unwrap_or_default(),
            concurrency,
            input_len: arguments.input_len,
            output_len: arguments.output_len,
            requests: self.answered + self.failed,
            failed: self.failed,
            rounds: head.rounds,
            to_dense: head.to_dense,
            figures: head.figures,
            summary: self,
        }
    }
}
