//! `secateur bench`: load on a router, and latencies and throughput as a client sees them.
//!
//! ```text
//! arguments.rs  the command line
//! asked.rs      one word of the list of policies
//! link/         the link between prefill and decode: shapers, and the rates they reach
//! policies.rs   the transfer policies to compare
//! rounds.rs     the order of measurement
//! scenario.rs   concurrency or rate of requests
//! prompt.rs     texts of a given approximate number of tokens, no two alike
//! picture.rs    pictures, no two alike
//! request.rs    the body of one request
//! run.rs        a scenario: warm-up, then requests at a concurrency or at a rate
//! answer.rs     one request, streamed and timed
//! outcome.rs    the results of a scenario's requests
//! summary.rs    percentiles and sums over a scenario's answers
//! compare.rs    comparison of a row with the dense one, round by round
//! row.rs        a row of the report, with its conditions
//! columns.rs    the table's columns
//! report.rs     the table, and the JSON document
//! ```

mod answer;
mod arguments;
mod asked;
mod columns;
mod compare;
mod link;
mod outcome;
mod picture;
mod policies;
mod prompt;
mod report;
mod request;
mod rounds;
mod row;
mod run;
mod scenario;
mod summary;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use anyhow::{Context, bail};
use secateur_common::{
    shutdown::{self, CancellationToken},
    telemetry::{self, LogFormat},
};

use crate::{
    client::connection::Client,
    console::progress,
    doctor::before_start,
    key,
    up::cluster::{Cluster, Only, Plan},
    usage::{self, usage},
};
pub use arguments::BenchArguments;
use link::{Link, ShapedLink};
use row::{Head, Row};
use run::Bench;
use secateur_transfer::TransferPolicy;

/// Runs the command.
pub fn run(arguments: BenchArguments) -> ExitCode {
    telemetry::init(&arguments.log, LogFormat::Text);
    usage::finish(start(arguments))
}

#[tokio::main]
async fn start(arguments: BenchArguments) -> anyhow::Result<()> {
    let stop = shutdown::on_signal();
    let policies = policies::of(&arguments)?;
    if arguments.url.is_some() && arguments.link != [Link::Unshaped] {
        return Err(usage(
            "--link shapes a cluster that is started for it; with --url only the link that is there is measured",
        ));
    }
    let mut rows = Vec::new();
    let mut ended = Ok(());
    for &link in &arguments.link {
        ended = by_link(&arguments, &policies, link, &stop, &mut rows).await;
        if ended.is_err() {
            break;
        }
    }
    // Complete rows are printed even if the command then fails.
    if !rows.is_empty() {
        if arguments.json { report::json(&rows, ended.as_ref().err())? } else { report::text(&rows) }
    }
    ended
}

/// Measures every row of one link, on a cluster of its own.
async fn by_link(
    arguments: &BenchArguments,
    policies: &[Option<TransferPolicy>],
    link: Link,
    stop: &CancellationToken,
    rows: &mut Vec<Row>,
) -> anyhow::Result<()> {
    let mut laid = ShapedLink::new(link);
    let mut cluster = match &arguments.url {
        Some(_) => None,
        None => Some(own_cluster(arguments, &mut laid).await?),
    };
    let ended = tokio::select! {
        ended = measure(arguments, policies, cluster.as_mut(), &mut laid, rows) => ended,
        () = stop.cancelled() => Err(anyhow::anyhow!("interrupted; what was measured before is printed")),
    };
    // The cluster stops also after a failure, so that no process is left behind.
    if let Some(cluster) = &mut cluster {
        cluster.stop().await;
    }
    ended
}

async fn own_cluster(arguments: &BenchArguments, laid: &mut ShapedLink) -> anyhow::Result<Cluster> {
    let model = before_start::checkpoint_unless_given(arguments.model.as_deref())?;
    let plan = Plan {
        model,
        prefill: arguments.prefill,
        decode: arguments.decode,
        node: arguments.node.flags(arguments.model.is_none(), arguments.plan.as_deref()),
        // The measured link is between nodes of one machine, which the router would otherwise treat as no link at all.
        only: Only { router: vec!["--placement".to_owned(), "disaggregated".to_owned()], ..Only::default() },
        port: 0,
        log: arguments.log.clone(),
    };
    Cluster::start_behind(plan, async |decode| laid.lay(decode).await).await
}

async fn measure(
    arguments: &BenchArguments,
    policies: &[Option<TransferPolicy>],
    cluster: Option<&mut Cluster>,
    laid: &mut ShapedLink,
    rows: &mut Vec<Row>,
) -> anyhow::Result<()> {
    let url = match (cluster, &arguments.url) {
        (Some(cluster), _) => {
            cluster.ready().await?;
            laid.measure(&cluster.prefill()).await?;
            cluster.base_url()
        }
        (None, Some(url)) => url.clone(),
        (None, None) => bail!("nothing to measure; give --url, or --model for a cluster of its own"),
    };
    let (link, figures) = (laid.link(), laid.figures());
    if let Some(shortfall) = figures.shortfall(link) {
        progress(&shortfall);
    }
    let client = Client::new(&url, key::of_environment(), arguments.timeout())?;
    let model = client.model().await.with_context(|| format!("{url} cannot be measured"))?;
    let scenarios = scenario::of(arguments);
    let mut bench = Bench::new(client, model, arguments, policies).await?;
    for scenario in &scenarios {
        progress(&format!("link {link}, {}: {} requests x {}", scenario.pace, arguments.requests, policies.len()));
        let head = Head { link, figures, policy: None, rounds: 0, to_dense: None };
        let found = bench.measure(scenario, head).await?;
        let failed = found.iter().find(|row| row.failed == row.requests).map(|row| row.transfer.clone());
        rows.extend(found);
        if let Some(policy) = failed {
            let policy = if policy.is_empty() { policy } else { format!(" under {policy}") };
            bail!("every request of the scenario `{}`{policy} failed; the first errors are above", scenario.pace);
        }
    }
    Ok(())
}
