//! The command line of `secateur doctor`.

use std::path::PathBuf;

use clap::Args;
use secateur_channel::LinkSecurity;
use secateur_model::FloatType;

/// Arguments of `secateur doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorArguments {
    /// Two running nodes (host:port), of which the first, the prefill node, measures its link to the second: throughput and
    /// round trip through the stack that shipments take, for two seconds at most
    #[arg(long, num_args = 2, value_names = ["PREFILL", "DECODE"], required = true)]
    pub link: Vec<String>,
    /// Checkpoint folder whose KV would be shipped [default: the demo checkpoint in this binary]
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Pruning plan that the nodes would run, a folder that `secateur plan` wrote [default: none]
    #[arg(long, value_name = "DIR")]
    pub plan: Option<PathBuf>,
    /// Format of KV: f32, bf16 or f16 [default: the checkpoint's own; f32 for the embedded demo]
    #[arg(long, value_name = "FORMAT", value_parser = parse_dtype)]
    pub dtype: Option<FloatType>,
    /// Tokens of the prompt that would be shipped, pictures not
    #[arg(long, value_name = "N", default_value_t = 2_048, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub prompt_len: u32,
    /// Pictures of the prompt, pruned as the checkpoint's card recommends, else as published
    #[arg(long, value_name = "K", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=64))]
    pub images: u32,
    /// Prompt tokens that prefill computes in a second, to hold shipping against [default: not compared]
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

fn parse_dtype(text: &str) -> Result<FloatType, String> {
    FloatType::from_name(text).ok_or_else(|| format!("`{text}` is none of f32, bf16, f16"))
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
        let cases: [&[&str]; 6] = [
            &[],
            &["--link", "p:1"],
            &["--link", "p:1", "d:2", "e:3"],
            &["--link", "p:1", "d:2", "--prompt-len", "0"],
            &["--link", "p:1", "d:2", "--prefill-tokens-per-s", "-1"],
            &["--link", "p:1", "d:2", "--dtype", "f8"],
        ];
        for flags in cases {
            assert_eq!(parse(flags).unwrap_err().exit_code(), 2, "{flags:?}");
        }
    }
}
