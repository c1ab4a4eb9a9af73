//! `secateur eval`: the quality of a checkpoint under policies, measured through a cluster over HTTP with greedy
//! sampling, so that the measured system is the served one.
//!
//! ```text
//! arguments.rs        the command line
//! combination.rs      plan x visual x transfer, with the baselines that judge them
//! host.rs             target of requests: a running router, or clusters started one after another
//! case_run.rs         one case: request, answer, whether it is right
//! divergence.rs       divergence of the next token's distribution from the reference's
//! receipt.rs          the figures of a reply's receipt
//! combination_run.rs  every case under one combination
//! group.rs            cases by tag and depth
//! statistics.rs       Wilson's interval, the paired bootstrap
//! figures.rs          a combination's figures for a group of cases
//! findings.rs         the results, and the cases that they were measured on
//! report.rs           the JSON document, warnings
//! table.rs            the tables for a person
//! recommend.rs        the smallest setting without loss
//! wrong.rs            answers that are not what was expected
//! machine.rs          the machine of the run
//! progress.rs         progress of a combination
//! ```

mod arguments;
mod case_run;
mod combination;
mod combination_run;
mod divergence;
mod figures;
mod findings;
mod group;
mod host;
mod machine;
mod progress;
mod receipt;
mod recommend;
mod report;
mod statistics;
mod table;
#[cfg(test)]
mod tests;
mod wrong;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use secateur_common::{
    shutdown,
    telemetry::{self, LogFormat},
};

use crate::{
    client::connection::Client,
    console::progress,
    key,
    suite::{self, Case, split::choose},
    usage,
};
pub use arguments::EvalArguments;
use combination::Combination;
use combination_run::{CombinationRun, Ended};
use findings::Findings;
use host::Host;
use recommend::{Recommendation, Search};

/// Runs the command.
pub fn run(arguments: EvalArguments) -> ExitCode {
    telemetry::init(&arguments.log, LogFormat::Text);
    usage::finish(start(arguments))
}

/// The task: everything that can be refused before a process is started.
struct Task {
    suite: PathBuf,
    cases: Vec<Case>,
    combinations: Vec<Combination>,
}

#[tokio::main]
async fn start(arguments: EvalArguments) -> anyhow::Result<()> {
    let stop = shutdown::on_signal();
    let mut host = Host::of(&arguments)?;
    let task = Task::new(&arguments, &host)?;
    let mut findings = Findings::new(&arguments, &task.suite, &task.cases);
    let ended = tokio::select! {
        ended = measure(&arguments, &task, &mut host, &mut findings) => ended,
        () = stop.cancelled() => Err(anyhow::anyhow!("interrupted; what was measured before is printed")),
    };
    // The host stops also after a failure, so that no process is left behind.
    host.stop().await;
    let ended = ended.and_then(|()| verdict(&findings));
    // Complete rows are printed even if the command then fails.
    if findings.has_any() {
        if arguments.json { report::json(&findings, ended.as_ref().err())? } else { report::text(&findings) }
    }
    ended
}

impl Task {
    /// Whether there is a reference, and another combination to compare with it.
    fn is_compared(&self) -> bool {
        self.combinations.len() > 1 && self.combinations.contains(&Combination::reference())
    }

    fn new(arguments: &EvalArguments, host: &Host) -> anyhow::Result<Task> {
        let suite = suite_file(arguments, host)?;
        let cases = choose(suite::read(&suite, arguments.matching)?, arguments.split(), arguments.limit);
        if cases.is_empty() {
            let split = arguments.split().name();
            return Err(usage::usage(format!("{} has no case in the split `{split}`; see --split", suite.display())));
        }
        let combinations = combination::of(arguments, host.advice()?.as_ref());
        Ok(Task { suite, cases, combinations })
    }
}

fn suite_file(arguments: &EvalArguments, host: &Host) -> anyhow::Result<PathBuf> {
    match (&arguments.suite, host.model()) {
        (Some(file), _) => Ok(file.clone()),
        (None, Some(dir)) => suite::file::find(dir, arguments.model.is_none(), "--suite"),
        (None, None) => Err(usage::usage("--suite must name the cases to send to --url")),
    }
}

async fn measure(
    arguments: &EvalArguments,
    task: &Task,
    host: &mut Host,
    findings: &mut Findings<'_>,
) -> anyhow::Result<()> {
    let mut session = Session { arguments, task, host, serving: None };
    if arguments.recommend {
        return session.recommend(findings).await;
    }
    for (index, combination) in task.combinations.iter().enumerate() {
        let label = format!("{} of {}: {combination}", index + 1, task.combinations.len());
        session.measure(combination, &label, findings).await?;
    }
    Ok(())
}

/// A run of all combinations in sequence; those of one plan use one cluster.
struct Session<'a> {
    arguments: &'a EvalArguments,
    task: &'a Task,
    host: &'a mut Host,
    serving: Option<(Option<PathBuf>, Client, String)>,
}

impl Session<'_> {
    /// Asks every case under one combination. Returns false if the router refuses it.
    async fn measure(
        &mut self,
        combination: &Combination,
        label: &str,
        findings: &mut Findings<'_>,
    ) -> anyhow::Result<bool> {
        let (client, model) = match self.serving.take() {
            Some((plan, client, model)) if plan == combination.plan => (client, model),
            _ => connect(self.arguments, combination, self.host).await?,
        };
        findings.model.clone_from(&model);
        let is_reference = *combination == Combination::reference();
        let run = CombinationRun {
            client: &client,
            model: &model,
            arguments: self.arguments,
            combination,
            cases: &self.task.cases,
            is_compared: self.arguments.recommend || self.task.is_compared(),
            reference: findings.reference().filter(|_| !is_reference),
        };
        let ended = run.run(label).await?;
        self.serving = Some((combination.plan.clone(), client, model));
        match ended {
            Ended::Measured(measured) => {
                findings.measured.push(measured);
                Ok(true)
            }
            Ended::Refused(refused) => {
                progress(&format!("{combination} is left out, as the router refuses it: {}", refused.message));
                findings.refused.push(refused);
                Ok(false)
            }
        }
    }

    /// Searches for the smallest settings without loss, and writes them into the checkpoint's card.
    async fn recommend(&mut self, findings: &mut Findings<'_>) -> anyhow::Result<()> {
        self.measure(&Combination::reference(), "dense", findings).await?;
        let mut found = Recommendation::default();
        let at = self.search(&recommend::BITS, Combination::tiered_at, findings).await?;
        if let Some(&bits) = recommend::BITS.get(at) {
            found.bits = Some(bits);
            found.evidence = findings.evidence(&Combination::tiered_at(bits));
        }
        if self.task.cases.iter().any(|case| !case.images.is_empty()) {
            let at = self.search(&recommend::KEEPS, Combination::keeping, findings).await?;
            found.keep = recommend::KEEPS.get(at).copied();
            if found.keep.is_none() {
                progress("no share of the visual tokens passes; what the card says of them stays as it is");
            }
        }
        match found.bits {
            Some(bits) => progress(&format!("tiered loses nothing with {bits} bits: {}", found.evidence)),
            None => progress("no precision passes: what is shipped with loss loses something here; ask for dense"),
        }
        if let Some(keep) = found.keep {
            progress(&format!("no family lost more than a point with {keep} of the visual tokens"));
        }
        let model = self.host.model().context("--recommend needs --model")?;
        recommend::write(&found, model)
    }

    /// The first of ascending settings that passes.
    async fn search(
        &mut self,
        settings: &[f64],
        combination: fn(f64) -> Combination,
        findings: &mut Findings<'_>,
    ) -> anyhow::Result<usize> {
        let mut search = Search::among(settings.len());
        while let Some(at) = search.next() {
            let combination = combination(settings[at]);
            let is_measured = self.measure(&combination, &combination.to_string(), findings).await?;
            search.tried(at, is_measured && recommend::passes(findings, self.arguments));
        }
        Ok(search.found())
    }
}

async fn connect(
    arguments: &EvalArguments,
    combination: &Combination,
    host: &mut Host,
) -> anyhow::Result<(Client, String)> {
    let url = host.serve(combination.plan.as_deref()).await?;
    let client = Client::new(&url, key::of_environment(), arguments.timeout())?;
    let model = client.model().await.with_context(|| format!("{url} cannot be measured"))?;
    Ok((client, model))
}

/// Fails if requests failed: incomplete figures are printed, but are no success.
fn verdict(findings: &Findings) -> anyhow::Result<()> {
    let failed = findings.failed();
    if failed > 0 {
        bail!("{failed} requests failed; they count as wrong answers above, and as `failed`");
    }
    if !findings.refused.is_empty() {
        let names: Vec<String> = findings.refused.iter().map(|refused| refused.combination.to_string()).collect();
        let advice = "ask for what it knows; --only-given leaves out the baselines that eval adds";
        bail!("the router refuses {}: {advice}", names.join("; "));
    }
    Ok(())
}
