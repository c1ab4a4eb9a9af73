//! The command line of `secateur doctor`.

use std::path::PathBuf;

use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use secateur_channel::{AddressError, LinkSecurity, check_address};
use secateur_model::{FloatType, WeightFormat};

/// Arguments of `secateur doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorArguments {
    /// Checkpoint, a folder or a GGUF file, to look at, and whose KV --link weighs [default: the demo checkpoint in this binary]
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Pruning plan to hold against the checkpoint, a folder that `secateur plan` wrote [default: none]
    #[arg(long, value_name = "DIR")]
    pub plan: Option<PathBuf>,
    /// Format of weights and KV: f32, bf16 or f16 [default: the checkpoint's own; f32 for the embedded demo]
    #[arg(long, value_name = "FORMAT", value_parser = parse_dtype)]
    pub dtype: Option<FloatType>,
    /// How a node would keep the language model's matrices: native or int8 [default: native]
    #[arg(long, value_name = "HOW", value_parser = parse_weights)]
    pub weights: Option<WeightFormat>,
    /// KV memory that a node would take, such as 2GiB [default: a quarter of the memory that is free]
    #[arg(long, value_name = "SIZE")]
    pub kv_memory: Option<ByteSize>,
    /// Configuration file of one role, read as that role would read it; its model, plan, address and nodes are looked at
    #[arg(long, value_name = "FILE", requires = "role")]
    pub config: Option<PathBuf>,
    /// The role that --config is for
    #[arg(long, value_enum, requires = "config")]
    pub role: Option<ConfiguredRole>,
    /// Running router to look at, with all of its nodes
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    pub url: Option<String>,
    /// Nodes to look at
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', value_parser = parse_node)]
    pub node: Vec<String>,
    /// Address that a program would listen on
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Two running nodes (host:port), of which the first, the prefill node, measures its link to the second: throughput and
    /// round trip through the stack that shipments take, for two seconds at most
    #[arg(long, num_args = 2, value_names = ["PREFILL", "DECODE"])]
    pub link: Vec<String>,
    /// With --link: tokens of the prompt that would be shipped, pictures not
    #[arg(long, value_name = "N", default_value_t = 2_048, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub prompt_len: u32,
    /// With --link: pictures of the prompt, pruned as the checkpoint's card recommends, else as published
    #[arg(long, value_name = "K", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=64))]
    pub images: u32,
    /// With --link: prompt tokens that prefill computes in a second, to hold shipping against [default: not compared]
    #[arg(long, value_name = "R", value_parser = parse_rate)]
    pub prefill_tokens_per_s: Option<f64>,
    /// Protection of the links to nodes.
    #[command(flatten)]
    pub security: LinkSecurity,
    /// Print one JSON document on standard output: checks, and the link's figures
    #[arg(long)]
    pub json: bool,
    /// What to log, as tracing directives
    #[arg(long, default_value = "warn", env = "SECATEUR_LOG")]
    pub log: String,
}

/// A program that has a configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ConfiguredRole {
    /// The router
    Router,
    /// A prefill node
    Prefill,
    /// A decode node
    Decode,
}

impl DoctorArguments {
    /// Whether no flag names anything to examine.
    pub fn is_open(&self) -> bool {
        let has_flag = [self.model.is_some(), self.plan.is_some(), self.config.is_some(), self.url.is_some()];
        !has_flag.contains(&true) && self.listen.is_none() && self.node.is_empty() && self.link.is_empty()
    }
}

fn parse_dtype(text: &str) -> Result<FloatType, String> {
    FloatType::from_name(text).ok_or_else(|| format!("`{text}` is none of f32, bf16, f16"))
}

fn parse_weights(text: &str) -> Result<WeightFormat, String> {
    WeightFormat::from_name(text).ok_or_else(|| format!("`{text}` is neither native nor int8"))
}

fn parse_node(text: &str) -> Result<String, AddressError> {
    check_address(text.trim()).map(|()| text.trim().to_owned())
}

fn parse_url(text: &str) -> Result<String, String> {
    let base = text.trim_end_matches('/');
    let base = base.strip_suffix("/v1").unwrap_or(base);
    let host = base.strip_prefix("http://").ok_or("must begin with http://; doctor speaks no TLS to a router")?;
    let is_host = !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ']);
    is_host.then(|| base.to_owned()).ok_or_else(|| "must be http://HOST:PORT".to_owned())
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "must be a number of tokens per second above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        arguments: DoctorArguments,
    }

    fn parse(flags: &[&str]) -> Result<DoctorArguments, clap::Error> {
        let flags = std::iter::once("doctor").chain(flags.iter().copied());
        Program::try_parse_from(flags).map(|program| program.arguments)
    }

    #[test]
    fn a_link_has_two_ends() {
        let found = parse(&["--link", "p:1", "d:2", "--prompt-len", "100", "--prefill-tokens-per-s", "1.5e3"]).unwrap();
        assert_eq!((found.link, found.prompt_len), (vec!["p:1".to_owned(), "d:2".to_owned()], 100));
        assert_eq!(found.prefill_tokens_per_s, Some(1_500.0));
        let cases: [&[&str]; 8] = [
            &["--link", "p:1"],
            &["--link", "p:1", "d:2", "e:3"],
            &["--link", "p:1", "d:2", "--prompt-len", "0"],
            &["--link", "p:1", "d:2", "--prefill-tokens-per-s", "-1"],
            &["--link", "p:1", "d:2", "--dtype", "f8"],
            &["--config", "x.toml"],
            &["--url", "https://there"],
            &["--node", "there"],
        ];
        for flags in cases {
            assert_eq!(parse(flags).unwrap_err().exit_code(), 2, "{flags:?}");
        }
    }

    #[test]
    fn a_url_may_be_the_one_that_clients_use() {
        for text in ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"] {
            assert_eq!(parse(&["--url", text]).unwrap().url.as_deref(), Some("http://h:1"), "{text}");
        }
        assert!(parse(&[]).unwrap().is_open() && !parse(&["--node", "a:1"]).unwrap().is_open());
    }
}
