//! `secateur up`: a whole cluster on this machine from one command.

mod child;
pub mod cluster;
pub mod node_options;
pub mod report;
mod sample;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Args;
use secateur_common::{
    shutdown,
    telemetry::{self, LogFormat},
};

use crate::{demo, usage};
use cluster::{Cluster, Only, Plan};
use node_options::NodeOptions;
use report::{Outcome, Urls};
use sample::Question;

/// Arguments of `secateur up`.
#[derive(Debug, Args)]
pub struct UpArguments {
    /// Checkpoint: a folder in the Hugging Face layout, or a GGUF file [default: the demo checkpoint in this binary]
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Pruning plan of the nodes, a folder that `secateur plan` wrote [default: none]
    #[arg(long, value_name = "DIR")]
    plan: Option<PathBuf>,
    /// Prefill nodes to start
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    prefill: u32,
    /// Decode nodes to start
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    decode: u32,
    /// Port of the router; 0 takes a free one [default: 8080, or a free one with --once]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// How the nodes compute.
    #[command(flatten)]
    node: NodeOptions,
    /// Exit after the sample answer
    #[arg(long)]
    once: bool,
    /// Print one JSON document on standard output: answer, expected, model, receipt, urls
    #[arg(long)]
    json: bool,
    /// What the roles log, as tracing directives
    #[arg(long, default_value = "warn", env = "SECATEUR_LOG")]
    log: String,
}

const PORT: u16 = 8080;

impl UpArguments {
    /// Whether the checkpoint is served as its card has it, so that another answer is a defect. A plan, other weights and
    /// another format may cost an answer.
    fn is_as_measured(&self) -> bool {
        self.plan.is_none() && self.node.weights.is_none() && self.node.dtype.is_none()
    }
}

/// Runs the command.
pub fn run(arguments: UpArguments) -> ExitCode {
    telemetry::init(&arguments.log, LogFormat::Text);
    usage::finish(start(arguments))
}

#[tokio::main]
async fn start(arguments: UpArguments) -> anyhow::Result<()> {
    let stop = shutdown::on_signal();
    let model = demo::unless_given(arguments.model.as_deref())?;
    let plan = Plan {
        port: arguments.port.unwrap_or(if arguments.once { 0 } else { PORT }),
        model: model.clone(),
        prefill: arguments.prefill,
        decode: arguments.decode,
        node: arguments.node.flags(arguments.model.is_none(), arguments.plan.as_deref()),
        only: Only::default(),
        log: arguments.log.clone(),
    };
    let mut cluster = Cluster::start(plan).await?;
    let served = tokio::select! {
        served = serve(&arguments, &model, &mut cluster) => served,
        () = stop.cancelled() => Ok(()),
    };
    // Also after a failure: no process is left behind.
    cluster.stop().await;
    served
}

async fn serve(arguments: &UpArguments, model: &std::path::Path, cluster: &mut Cluster) -> anyhow::Result<()> {
    cluster.ready().await?;
    let base_url = cluster.base_url();
    let question = Question::of(model)?;
    if !arguments.json {
        report::question(&question);
    }
    let answer = sample::ask(&base_url, &question, |piece| {
        if !arguments.json {
            report::piece(piece);
        }
    });
    let answer = answer.await.context("the cluster is up, but the sample question failed")?;
    let outcome = Outcome { answer, expected: question.expected.clone(), urls: Urls::new(&base_url) };
    if arguments.json {
        report::json(&outcome)?
    } else {
        report::text(&outcome, arguments.once)
    }
    if let Some(expected) = &outcome.expected
        && *expected != outcome.answer.text
    {
        let text =
            format!("the sample answer is `{}` where the checkpoint's card has `{expected}`", outcome.answer.text);
        if arguments.is_as_measured() {
            anyhow::bail!(text);
        }
        report::progress(&format!("{text}: `secateur eval` says what leaving out or rounding costs"));
    }
    if arguments.once {
        return Ok(());
    }
    cluster.supervise().await;
    Ok(())
}
