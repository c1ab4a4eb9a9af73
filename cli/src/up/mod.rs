//! `secateur up`: a whole cluster on this machine from one command.

mod child;
pub mod cluster;
pub mod node_options;
mod print_config;
pub mod report;
mod roles;
mod sample;
mod stop;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::Args;
use secateur_common::{
    shutdown::{self, EXIT_INTERRUPTED, Stops},
    telemetry::{self, LogFormat},
};

use crate::{console, demo, doctor::before_start, running::Note, usage};
use cluster::{Cluster, Only, Plan};
use node_options::NodeOptions;
use report::{Outcome, Urls};
use sample::{Answer, Question, Refusal};

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
    /// The model's name towards clients [default: the folder's name; of a snapshot in a Hugging Face cache, its repository]
    #[arg(long, value_name = "NAME")]
    served_model_name: Option<String>,
    /// Exit after the sample answer
    #[arg(long)]
    once: bool,
    /// Print one JSON document on standard output: answer, finish_reason, expected, model, receipt, urls
    #[arg(long)]
    json: bool,
    /// Print the effective configuration of each role that would be started, with the source of each value, and exit
    #[arg(long, conflicts_with_all = ["once", "json"])]
    print_config: bool,
    /// What the roles log, as tracing directives
    #[arg(long, default_value = "warn", env = "SECATEUR_LOG")]
    log: String,
}

const PORT: u16 = 8080;

impl UpArguments {
    /// Whether the checkpoint is served as it was when its card was made, so that a different sample answer is a
    /// defect. A plan, other weights and another format may change an answer.
    fn is_as_measured(&self) -> bool {
        self.plan.is_none() && self.node.weights.is_none() && self.node.dtype.is_none()
    }

    /// The cluster to start for the checkpoint in `model`.
    fn plan(&self, model: &Path) -> Plan {
        let name = self.served_model_name.iter().flat_map(|name| ["--served-model-name".to_owned(), name.clone()]);
        Plan {
            port: self.port.unwrap_or(if self.once { 0 } else { PORT }),
            model: model.to_owned(),
            prefill: self.prefill,
            decode: self.decode,
            node: self.node.flags(self.model.is_none(), self.plan.as_deref()),
            only: Only { router: name.collect(), ..Only::default() },
            log: self.log.clone(),
        }
    }
}

/// The end of a run that did not fail.
enum Ended {
    Well,
    /// A second signal interrupted requests.
    Cut,
}

/// Runs the command.
pub fn run(arguments: UpArguments) -> ExitCode {
    telemetry::init(&arguments.log, LogFormat::Text);
    match start(arguments) {
        Ok(Ended::Well) => ExitCode::SUCCESS,
        Ok(Ended::Cut) => ExitCode::from(u8::try_from(EXIT_INTERRUPTED).unwrap_or(1)),
        Err(error) => usage::finish(Err(error)),
    }
}

#[tokio::main]
async fn start(arguments: UpArguments) -> anyhow::Result<Ended> {
    let stops = shutdown::on_signals();
    let model = demo::unless_given(arguments.model.as_deref())?;
    let plan = arguments.plan(&model);
    if arguments.print_config {
        print_config::print(&plan)?;
        return Ok(Ended::Well);
    }
    let begun = tokio::select! {
        begun = begin(&arguments, plan) => begun?,
        // Dropping the handles stops the roles that were started.
        () = stops.first.cancelled() => return Ok(Ended::Well),
    };
    run_until(&arguments, &model, begun, &stops).await
}

/// Starts every role, after checking everything that can be checked beforehand.
async fn begin(arguments: &UpArguments, plan: Plan) -> anyhow::Result<Cluster> {
    before_start::checkpoint(&arguments.node.asked(&plan.model, arguments.model.is_none(), arguments.plan.as_deref()))?;
    if plan.port != 0 {
        before_start::port(plan.listen().to_string()).await?;
    }
    Cluster::start(plan).await
}

async fn run_until(
    arguments: &UpArguments,
    model: &Path,
    mut cluster: Cluster,
    stops: &Stops,
) -> anyhow::Result<Ended> {
    let served = tokio::select! {
        served = serve(arguments, model, &mut cluster) => served,
        () = stops.first.cancelled() => Ok(()),
    };
    // The cluster stops also after a failure, so that no process is left behind.
    let is_whole = stop::stop(&mut cluster, stops).await;
    served.map(|()| if is_whole { Ended::Well } else { Ended::Cut })
}

async fn serve(arguments: &UpArguments, model: &Path, cluster: &mut Cluster) -> anyhow::Result<()> {
    cluster.ready().await?;
    let base_url = cluster.base_url();
    let _note = leave_note(&base_url);
    let urls = Urls::new(&base_url);
    let outcome = match ask(arguments, model, &base_url).await? {
        Ok((question, answer)) => {
            judge(arguments, &question, &answer)?;
            Outcome { model: answer.model.clone(), expected: question.expected, answer: Some(answer), urls }
        }
        Err(Refusal(why)) if arguments.once => bail!("the cluster is up, but refuses the sample question: {why}"),
        Err(_) => {
            let model = cluster.view().await["model"].as_str().unwrap_or("?").to_owned();
            Outcome { answer: None, expected: None, model, urls }
        }
    };
    // The outcome is printed only now, when no later failure can contradict it.
    if arguments.json {
        report::json(&outcome)?
    } else {
        report::text(&outcome, arguments.once)
    }
    if arguments.once {
        return Ok(());
    }
    cluster.supervise().await;
    Ok(())
}

/// Asks the sample question, or a greeting if the model cannot take the sample: a template may not support pictures, or
/// a model may have none, and the cluster serves all the same. Returns the last refusal if no question is accepted.
async fn ask(
    arguments: &UpArguments,
    model: &Path,
    base_url: &str,
) -> anyhow::Result<Result<(Question, Answer), Refusal>> {
    let (questions, trouble) = Question::all(model)?;
    if let Some(trouble) = trouble {
        console::progress(&trouble);
    }
    let mut refusal = Refusal(String::new());
    for question in questions {
        if !arguments.json {
            report::question(&question);
        }
        let answer = sample::ask(base_url, &question, |piece| {
            if !arguments.json {
                report::piece(piece);
            }
        });
        match answer.await.context("the cluster is up, but the sample question failed")? {
            Ok(answer) => return Ok(Ok((question, answer))),
            Err(refused) => {
                if !arguments.json {
                    report::no_answer();
                }
                console::progress(&format!("the router refuses this sample question: {}", refused.0));
                refusal = refused;
            }
        }
    }
    Ok(Err(refusal))
}

/// Compares the answer with the card's.
fn judge(arguments: &UpArguments, question: &Question, answer: &Answer) -> anyhow::Result<()> {
    let Some(expected) = question.expected.as_ref().filter(|expected| **expected != answer.text) else { return Ok(()) };
    let text = format!("the sample answer is `{}` where the checkpoint's card has `{expected}`", answer.text);
    if arguments.is_as_measured() {
        bail!(text);
    }
    console::progress(&format!("{text}: `secateur eval` says what leaving out or rounding costs"));
    Ok(())
}

/// Leaves a note by which `doctor` finds this cluster; without it, `doctor` needs the URL.
fn leave_note(base_url: &str) -> Option<Note> {
    Note::leave(base_url).inspect_err(|error| tracing::debug!(%error, "no note of this cluster was left")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        arguments: UpArguments,
    }

    #[test]
    fn the_name_goes_to_the_router_alone() {
        let plan = |flags: &[&str]| {
            let flags = std::iter::once("up").chain(flags.iter().copied());
            Program::parse_from(flags).arguments.plan(Path::new("/m"))
        };
        let named = plan(&["--served-model-name", "mine"]);
        assert!(named.only.router == ["--served-model-name", "mine"] && !named.node.contains(&"mine".to_owned()));
        assert_eq!((plan(&[]).port, plan(&["--once"]).port, plan(&["--port", "9"]).port), (8080, 0, 9));
        assert!(plan(&[]).only.router.is_empty());
    }
}
