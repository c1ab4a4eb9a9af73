//! Every case under one combination, so many requests in flight.

use futures::{StreamExt, stream};

use super::{
    arguments::EvalArguments,
    case_run::{CaseRun, Outcome, Trouble},
    combination::Combination,
    progress::Progress,
};
use crate::suite::Case;
use crate::{bench::client::Client, up::report::progress};

/// Of a combination's errors, so many are shown.
const ERRORS_SHOWN: u64 = 3;

/// What to ask, and whom.
pub struct CombinationRun<'a> {
    pub client: &'a Client,
    pub model: &'a str,
    pub arguments: &'a EvalArguments,
    pub combination: &'a Combination,
    pub cases: &'a [Case],
    /// Whether something is held against the reference.
    pub is_compared: bool,
    /// The reference, where this is another combination and it was measured.
    pub reference: Option<&'a Measured>,
}

/// How a combination ended.
pub enum Ended {
    Measured(Measured),
    Refused(Refused),
}

/// Every case was asked.
#[derive(Clone, Debug)]
pub struct Measured {
    pub combination: Combination,
    /// One for each case, in the cases' order: outcomes of two combinations are of the same cases.
    pub outcomes: Vec<Outcome>,
}

/// The router does not do what was asked for.
#[derive(Clone, Debug)]
pub struct Refused {
    pub combination: Combination,
    pub message: String,
}

impl CombinationRun<'_> {
    /// Asks every case.
    pub async fn run(&self, label: &str) -> anyhow::Result<Ended> {
        let mut watch = Progress::new(label, self.cases.len());
        let mut failed = 0;
        let mut outcomes: Vec<(usize, Outcome)> = Vec::with_capacity(self.cases.len());
        let asked = stream::iter(self.cases.iter().enumerate()).map(|(index, case)| self.ask(index, case));
        let mut answers = asked.buffer_unordered(self.arguments.concurrency as usize);
        while let Some(answer) = answers.next().await {
            let (index, answer) = answer?;
            let outcome = match answer {
                Ok(outcome) => outcome,
                Err(Trouble::Refused(message)) => {
                    return Ok(Ended::Refused(Refused { combination: self.combination.clone(), message }));
                }
                Err(Trouble::Failed(reason)) => {
                    failed += 1;
                    if failed <= ERRORS_SHOWN {
                        watch.say(&format!("{} failed: {reason}", self.cases[index].id));
                    }
                    Outcome::Failed
                }
            };
            watch.add(outcome.is_right());
            outcomes.push((index, outcome));
        }
        watch.end();
        if failed > ERRORS_SHOWN {
            progress(&format!("and {} more requests failed", failed - ERRORS_SHOWN));
        }
        outcomes.sort_by_key(|(index, _)| *index);
        let outcomes = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
        Ok(Ended::Measured(Measured { combination: self.combination.clone(), outcomes }))
    }

    /// An error here is this machine's, such as a picture that cannot be read any more.
    async fn ask(&self, index: usize, case: &Case) -> anyhow::Result<(usize, Result<Outcome, Trouble>)> {
        let run = CaseRun {
            client: self.client,
            model: self.model,
            arguments: self.arguments,
            combination: self.combination,
            case,
            is_compared: self.is_compared,
            reference: self.reference.and_then(|reference| reference.outcomes[index].answer()),
        };
        Ok((index, run.ask().await?))
    }
}

impl Measured {
    /// Id of the plan in force, as the receipts have it; empty: none.
    pub fn plan_id(&self) -> &str {
        self.outcomes.iter().find_map(Outcome::receipt).map_or("", |receipt| &receipt.plan)
    }

    /// The method that ran; `auto` stands for another.
    pub fn ran(&self) -> &str {
        let methods = self.outcomes.iter().filter_map(Outcome::receipt).map(|receipt| receipt.method.as_str());
        let method = methods.into_iter().find(|method| !matches!(*method, "" | "none"));
        method.unwrap_or(&self.combination.visual.method)
    }
}
