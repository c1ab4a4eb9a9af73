//! `secateur bench`: load on a router, and what a client sees of it.
//!
//! ```text
//! arguments.rs  the command line
//! scenario.rs   what is sent, how many at a time or how often
//! prompt.rs     texts of about so many tokens, no two alike
//! picture.rs    pictures, no two alike
//! request.rs    the body of one request
//! run.rs        a scenario: warm-up, then requests at a concurrency or at a rate
//! client.rs     one request, streamed and timed
//! sse.rs        server-sent events out of bytes
//! timeline.rs   when an answer's pieces came, and the figures that follow
//! summary.rs    percentiles and sums over a scenario's answers
//! report.rs     the table, and the JSON document
//! ```

pub mod arguments;
pub mod client;
mod picture;
mod prompt;
mod report;
mod request;
mod run;
mod scenario;
mod sse;
mod summary;
#[cfg(test)]
mod tests;
mod timeline;

use std::process::ExitCode;

use anyhow::{Context, bail};
use secateur_common::{
    shutdown,
    telemetry::{self, LogFormat},
};

use crate::{
    demo,
    up::{
        cluster::{Cluster, Plan},
        report::progress,
    },
    usage,
};
pub use arguments::BenchArguments;
use client::Client;
use run::Bench;
use summary::Row;

/// Runs the command.
pub fn run(arguments: BenchArguments) -> ExitCode {
    telemetry::init(&arguments.log, LogFormat::Text);
    usage::finish(start(arguments))
}

#[tokio::main]
async fn start(arguments: BenchArguments) -> anyhow::Result<()> {
    let stop = shutdown::on_signal();
    let mut rows = Vec::new();
    let mut cluster = match &arguments.url {
        Some(_) => None,
        None => Some(own_cluster(&arguments).await?),
    };
    let ended = tokio::select! {
        ended = measure(&arguments, cluster.as_mut(), &mut rows) => ended,
        () = stop.cancelled() => Err(anyhow::anyhow!("interrupted; what was measured before is printed")),
    };
    // Also after a failure: no process is left behind.
    if let Some(cluster) = &mut cluster {
        cluster.stop().await;
    }
    // What is complete is worth having, whatever came after it.
    if !rows.is_empty() {
        if arguments.json { report::json(&rows)? } else { report::text(&rows) }
    }
    ended
}

async fn own_cluster(arguments: &BenchArguments) -> anyhow::Result<Cluster> {
    let model = demo::checkpoint_unless_given(arguments.model.as_deref())?;
    let plan = Plan {
        model,
        prefill: arguments.prefill,
        decode: arguments.decode,
        node: arguments.node.flags(arguments.model.is_none(), arguments.plan.as_deref()),
        port: 0,
        log: arguments.log.clone(),
    };
    Cluster::start(plan).await
}

async fn measure(arguments: &BenchArguments, cluster: Option<&mut Cluster>, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let url = match (cluster, &arguments.url) {
        (Some(cluster), _) => {
            cluster.ready().await?;
            cluster.base_url()
        }
        (None, Some(url)) => url.clone(),
        (None, None) => bail!("nothing to measure; give --url, or --model for a cluster of its own"),
    };
    let client = Client::new(&url, arguments.timeout())?;
    let model = client.model().await.with_context(|| format!("{url} cannot be measured"))?;
    let scenarios = scenario::of(arguments);
    let mut bench = Bench::new(client, model, arguments).await?;
    for scenario in &scenarios {
        progress(&format!("{}: {} requests", scenario.pace, arguments.requests));
        let row = bench.measure(scenario).await?;
        let all_failed = row.failed == row.requests;
        rows.push(row);
        if all_failed {
            bail!("every request of the scenario `{}` failed; the first errors are above", scenario.pace);
        }
    }
    Ok(())
}
