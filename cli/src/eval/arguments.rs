//! The command line of `secateur eval`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use crate::suite::{expected::Match, split::Split};
use crate::{
    client::{
        address::parse_url,
        visual::{Visual, parse_visual},
    },
    up::node_options::NodeOptions,
};

/// Arguments of `secateur eval`.
#[derive(Clone, Debug, Args)]
pub struct EvalArguments {
    /// Router to measure, such as http://host:8080 [default: clusters started for this, on this machine]
    #[arg(long, value_name = "URL", value_parser = parse_url, requires = "suite", conflicts_with_all = [
        "model", "plan", "dtype", "weights", "kv_memory", "threads",
    ])]
    pub url: Option<String>,
    /// Checkpoint, a folder or a GGUF file, of the clusters that are started [default: the demo checkpoint in this binary]
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Cases, one JSON object a line: {"images": [...], "prompt": "...", "answer": "...", "tags": [...]}, or with
    /// "messages", "match", "max_tokens"; pictures are relative to the file [default: eval/suite.jsonl of the checkpoint, if there is one]
    #[arg(long, value_name = "FILE")]
    pub suite: Option<PathBuf>,
    /// Visual pruning to ask for, such as trimtokenator:0.111,coverage:0.111 [default: auto, and what the checkpoint's
    /// card recommends]
    #[arg(long, value_name = "METHOD[:KEEP],...", value_delimiter = ',', value_parser = parse_pruning)]
    pub visual: Vec<Visual>,
    /// Transfer policies to ask for, such as dense,tiered,tiered:4.5
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "dense", value_parser = parse_policy)]
    pub transfer: Vec<String>,
    /// Pruning plan of the nodes, or `none`; may be repeated, each is measured on a cluster of its own [default: none]
    #[arg(long, value_name = "DIR", value_parser = parse_plan)]
    pub plan: Vec<PruningPlan>,
    /// Measure only what is asked for, without the dense unpruned reference and the baselines random and keep-first
    #[arg(long)]
    pub only_given: bool,
    /// Find the fewest bits, and where the suite has pictures the fewest visual tokens, with which it shows no loss, and write
    /// them with the evidence into the checkpoint's card
    #[arg(long, conflicts_with_all = ["url", "visual", "transfer", "plan", "only_given"])]
    pub recommend: bool,
    /// Of --recommend: mean divergence from dense that is no loss, nats a token
    #[arg(long, value_name = "NATS", default_value_t = 0.002, requires = "recommend")]
    pub kl_max: f64,
    /// Of --recommend: share of answers that have to be the same as dense
    #[arg(long, value_name = "SHARE", default_value_t = 0.9, requires = "recommend")]
    pub same_min: f64,
    /// Which cases: all, calibration (every fourth, the first included) or test (the others) [default: all, or test
    /// with a plan, which is computed from calibration cases]
    #[arg(long, value_name = "WHICH")]
    split: Option<Split>,
    /// How answers are matched where a case does not say
    #[arg(long = "match", value_name = "HOW", value_enum, default_value_t)]
    pub matching: Match,
    /// Print the answers that are wrong, and those that differ from dense where a case has no answer
    #[arg(long)]
    pub show_wrong: bool,
    /// At most so many cases, taken evenly from the whole split
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Requests in flight
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub concurrency: u32,
    /// Tokens of an answer, at most, where a case does not say
    #[arg(long, value_name = "N", default_value_t = 48, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_tokens: u32,
    /// Seconds after which a request counts as failed
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// How the started nodes compute.
    #[command(flatten)]
    pub node: NodeOptions,
    /// Print one JSON document on standard output: rows, one for each combination and tag
    #[arg(long)]
    pub json: bool,
    /// What the started roles log, as tracing directives
    #[arg(long, default_value = "warn", env = "SECATEUR_LOG")]
    pub log: String,
}

/// The plan that nodes are started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PruningPlan {
    /// No plan: the unpruned model.
    None,
    /// A plan's folder.
    Dir(PathBuf),
}

impl EvalArguments {
    /// Time after which a request counts as failed.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// The cases to run: by default a plan is not judged by the cases that it was computed from.
    pub fn split(&self) -> Split {
        let has_plan = self.plan.iter().any(|plan| *plan != PruningPlan::None);
        self.split.unwrap_or(if has_plan { Split::Test } else { Split::All })
    }

    /// Folders of the requested plans, each once; `None` is a cluster without a plan.
    pub fn plans(&self) -> Vec<Option<PathBuf>> {
        let mut plans: Vec<Option<PathBuf>> = Vec::new();
        for plan in &self.plan {
            let dir = match plan {
                PruningPlan::None => None,
                PruningPlan::Dir(dir) => Some(dir.clone()),
            };
            if !plans.contains(&dir) {
                plans.push(dir);
            }
        }
        if plans.is_empty() { vec![None] } else { plans }
    }
}

fn parse_pruning(text: &str) -> Result<Visual, String> {
    match parse_visual(text)? {
        Visual { method, keep: Some(_) } if method == "none" => {
            Err("none keeps everything and takes no KEEP".to_owned())
        }
        visual => Ok(visual),
    }
}

fn parse_policy(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        _ if text.is_empty() => Err("must be a policy, such as dense, tiered or tiered:4.5".to_owned()),
        Some((_, bits)) if bits.parse::<f64>().is_err() => Err(format!("`{bits}` is no number of bits")),
        _ => Ok(text.to_owned()),
    }
}

fn parse_plan(text: &str) -> Result<PruningPlan, String> {
    if text == "none" {
        return Ok(PruningPlan::None);
    }
    match std::path::absolute(text) {
        Ok(dir) if dir.is_dir() => Ok(PruningPlan::Dir(dir)),
        _ => Err("must be a plan's folder (see `secateur plan`), or none".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::tests::{arguments, try_arguments};

    #[test]
    fn lists_are_read() {
        let found = arguments(&["--visual", "trimtokenator:0.111,auto", "--transfer", "dense,tiered"]);
        let names: Vec<String> = found.visual.iter().map(ToString::to_string).collect();
        assert_eq!(
            (names, found.transfer.join(" ")),
            (vec!["trimtokenator:0.111".into(), "auto".into()], "dense tiered".into())
        );
        assert_eq!((found.plans(), found.split()), (vec![None], Split::All));
    }

    #[test]
    fn a_plan_is_judged_by_cases_it_has_not_seen() {
        let dir = tempfile::tempdir().unwrap();
        let plan = dir.path().to_str().unwrap();
        let found = arguments(&["--plan", plan, "--plan", "none", "--plan", plan]);
        assert_eq!(found.plans(), [Some(dir.path().to_owned()), None]);
        assert_eq!(found.split(), Split::Test);
        assert_eq!(arguments(&["--plan", plan, "--split", "calibration"]).split(), Split::Calibration);
        assert_eq!(arguments(&["--plan", "none"]).split(), Split::All);
    }

    #[test]
    fn what_cannot_be_done_is_bad_usage() {
        let cases: [&[&str]; 16] = [
            &["--visual", "trimtokenator:0"],
            &["--visual", "trimtokenator:1.5"],
            &["--visual", "none:0.5"],
            &["--visual", ""],
            &["--transfer", "dense,"],
            &["--transfer", "tiered:x"],
            &["--recommend", "--transfer", "dense"],
            &["--plan", "/no/such/folder"],
            &["--split", "train"],
            &["--limit", "0"],
            &["--concurrency", "0"],
            &["--concurrency", "5000"],
            &["--max-tokens", "0"],
            &["--url", "http://h:80"],
            &["--url", "http://h:80", "--suite", "x", "--plan", "none"],
            &["--url", "http://h:80", "--suite", "x", "--model", "m"],
        ];
        for flags in cases {
            let error = try_arguments(flags).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{flags:?}");
            assert!(error.to_string().contains(flags[flags.len().saturating_sub(2)]), "{flags:?}: {error}");
        }
    }
}
