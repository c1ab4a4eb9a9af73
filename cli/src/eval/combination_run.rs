//! The run of every case under one combination, with a fixed number of requests in flight.

use futures::{StreamExt, stream};

use super::{
    arguments::EvalArguments,
    case_run::{CaseRun, Outcome, Trouble},
    combination::Combination,
    progress::Progress,
};
use crate::suite::Case;
use crate::{client::connection::Client, console::progress};

/// Number of a combination's errors that are shown.
const ERRORS_SHOWN: u64 = 3;

/// The cases to ask, and the server to ask.
pub struct CombinationRun<'a> {
    pub client: &'a Client,
    pub model: &'a str,
    pub arguments: &'a EvalArguments,
    pub combination: &'a Combination,
    pub cases: &'a [Case],
    /// Whether some combination is compared with the reference.
    pub is_compared: bool,
    /// The reference's results, if this is another combination and the reference was measured.
    pub reference: Option<&'a Measured>,
}

/// The end of a combination's run.
pub enum Ended {
    Measured(Measured),
    Refused(Refused),
}

/// Results of a combination, of which every case was asked.
#[derive(Clone, Debug)]
pub struct Measured {
    pub combination: Combination,
    /// One outcome for each case, in the cases' order, so the outcomes of two combinations are of the same cases.
    pub outcomes: Vec<Outcome>,
}

/// Report that the router does not support the combination.
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

    /// Asks one case. An error here comes from this machine, such as a picture that can no longer be read.
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
    /// Id of the plan in force, from the receipts; empty if there is none.
    pub fn plan_id(&self) -> &str {
        self.outcomes.iter().find_map(Outcome::receipt).map_or("", |receipt| &receipt.plan)
    }

    /// The method that ran; the requested `auto` stands for another method.
    pub fn ran(&self) -> &str {
        let methods = self.outcomes.iter().filter_map(Outcome::receipt).map(|receipt| receipt.method.as_str());
        let method = methods.into_iter().find(|method| !matches!(*method, "" | "none"));
        method.unwrap_or(&self.combination.visual.method)
    }
}
