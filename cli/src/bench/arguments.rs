//! The command line of `secateur bench`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{asked::Asked, link::Link};
use crate::{
    client::{
        address::parse_url,
        visual::{Visual, parse_visual},
    },
    up::node_options::NodeOptions,
};

/// Arguments of `secateur bench`.
#[derive(Clone, Debug, Args)]
pub struct BenchArguments {
    /// Router to measure, such as http://host:8080 [default: a cluster started for this, on this machine]
    #[arg(long, value_name = "URL", value_parser = parse_url, conflicts_with_all = [
        "model", "plan", "prefill", "decode", "dtype", "weights", "kv_memory", "threads",
    ])]
    pub url: Option<String>,
    /// Checkpoint, a folder or a GGUF file, of the cluster that is started [default: the demo checkpoint in this binary]
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Pruning plan of the nodes, a folder that `secateur plan` wrote [default: none]
    #[arg(long, value_name = "DIR")]
    pub plan: Option<PathBuf>,
    /// Prefill nodes to start
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub prefill: u32,
    /// Decode nodes to start
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub decode: u32,
    /// How the started nodes compute.
    #[command(flatten)]
    pub node: NodeOptions,
    /// Requests in flight: one scenario for each number of the list
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,4,16", conflicts_with = "rate",
        value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub concurrency: Vec<u32>,
    /// Requests per second instead, at random moments (Poisson), however many are in flight
    #[arg(long, value_name = "R", value_parser = parse_rate)]
    pub rate: Option<f64>,
    /// Requests of each scenario
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    pub requests: u32,
    /// Requests before each scenario that do not count
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub warmup: u32,
    /// Tokens of each prompt, about, the chat template's included, pictures not
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub input_len: u32,
    /// Tokens of each answer
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub output_len: u32,
    /// Pictures of each prompt
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=64))]
    pub images: u32,
    /// Visual pruning to ask for, with the share of visual tokens kept, such as trimtokenator:0.25
    #[arg(long, value_name = "METHOD[:KEEP]", value_parser = parse_visual)]
    pub visual: Option<Visual>,
    /// Transfer policies to ask for, or `all` that are possible: a row for each, measured in turns on the same prompts
    /// [default: whatever the router chooses]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub transfer: Vec<Asked>,
    /// Rounds over which the requests of a scenario are spread, policies taking turns in each
    /// [default: 4 where there are several policies, else 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rounds: Option<u32>,
    /// Links between prefill and decode, such as 1gbit,10gbit,25gbit,none: a cluster of its own for each, with a token-bucket
    /// shaper of that rate before its decode nodes; none is the link that is there
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "none")]
    pub link: Vec<Link>,
    /// The same seed sends the same prompts and pictures at the same moments
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Seconds after which a request counts as failed
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Print one JSON document on standard output: rows, one for each link, scenario and policy
    #[arg(long)]
    pub json: bool,
    /// What the started roles log, as tracing directives
    #[arg(long, default_value = "warn", env = "SECATEUR_LOG")]
    pub log: String,
}

impl BenchArguments {
    /// Time after which a request counts as failed.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "must be a number of requests per second above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        arguments: BenchArguments,
    }

    fn parse(flags: &[&str]) -> Result<BenchArguments, clap::Error> {
        let flags = std::iter::once("bench").chain(flags.iter().copied());
        Program::try_parse_from(flags).map(|program| program.arguments)
    }

    #[test]
    fn lists_and_policies_are_read() {
        let found = parse(&["--concurrency", "1,8", "--visual", "trimtokenator:0.25", "--link", "none"]).unwrap();
        assert_eq!(found.concurrency, [1, 8]);
        assert_eq!(found.visual, Some(Visual { method: "trimtokenator".to_owned(), keep: Some(0.25) }));
        assert_eq!(found.visual.unwrap().to_string(), "trimtokenator:0.25");
        assert_eq!(parse(&["--url", "http://h:80/v1/"]).unwrap().url.unwrap(), "http://h:80");
        assert_eq!(parse(&["--rate", "0.5"]).unwrap().rate, Some(0.5));
        let found = parse(&["--link", "1gbit,none", "--transfer", "dense,all"]).unwrap();
        assert_eq!(found.link.iter().map(ToString::to_string).collect::<Vec<_>>(), ["1gbit", "none"]);
        assert_eq!(found.transfer.len(), 2);
    }

    #[test]
    fn what_cannot_be_done_is_bad_usage() {
        let cases: [&[&str]; 12] = [
            &["--link", "10"],
            &["--link", "none,0gbit"],
            &["--transfer", "telepathy"],
            &["--rounds", "0"],
            &["--url", "h:80"],
            &["--url", "http://h:80", "--model", "x"],
            &["--url", "http://h:80", "--threads", "2"],
            &["--rate", "0"],
            &["--rate", "1", "--concurrency", "2"],
            &["--concurrency", "0"],
            &["--visual", "none:1.5"],
            &["--requests", "0"],
        ];
        for flags in cases {
            assert_eq!(parse(flags).unwrap_err().exit_code(), 2, "{flags:?}");
        }
    }
}
