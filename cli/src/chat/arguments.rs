//! The command line of `secateur chat`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use secateur_transfer::TransferPolicy;

use super::{policy::Policy, request::Settings};
use crate::{
    client::{
        address::parse_url,
        visual::{Visual, parse_visual},
    },
    key,
    up::node_options::NodeOptions,
};

/// Arguments of `secateur chat`.
#[derive(Clone, Debug, Args)]
pub struct ChatArguments {
    /// Router to talk to
    #[arg(long, value_name = "URL", value_parser = parse_url, default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// Start a cluster for this conversation, of this checkpoint: a folder or a GGUF file; without DIR, of the demo in this
    /// binary
    #[arg(long, value_name = "DIR", num_args = 0..=1, conflicts_with = "url")]
    pub start: Option<Option<PathBuf>>,
    /// Pruning plan of the started nodes, a folder that `secateur plan` wrote [default: none]
    #[arg(long, value_name = "DIR", requires = "start")]
    pub plan: Option<PathBuf>,
    /// Key to send to the router; the first of a list
    #[arg(long, value_name = "KEY,...", env = "SECATEUR_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// The model's name in requests [default: the one that /v1/models names]
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// System message [default: none, or the chat template's]
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Picture of the first message, PNG, JPEG, WebP or GIF; may be repeated
    #[arg(long, value_name = "PATH")]
    pub image: Vec<PathBuf>,
    /// Tokens of an answer, at most [default: the router's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,
    /// Sampling temperature, 0 (always the likeliest token) to 2 [default: the checkpoint's]
    #[arg(long, value_name = "T", value_parser = parse_temperature)]
    temperature: Option<f64>,
    /// Seed of sampling: the same seed and words give the same answer [default: drawn anew]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    seed: Option<i64>,
    /// Visual pruning to ask for, with the share of visual tokens kept, such as trimtokenator:0.25 [default: the router's
    /// choice]
    #[arg(long, value_name = "METHOD[:KEEP]", value_parser = parse_visual)]
    visual: Option<Visual>,
    /// Transfer policy to ask for, such as dense or tiered:4.5 [default: the router's choice]
    #[arg(long, value_name = "POLICY")]
    transfer: Option<TransferPolicy>,
    /// Seconds after which an answer counts as failed
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// How the started nodes compute.
    #[command(flatten)]
    pub node: NodeOptions,
    /// Print one line of JSON on standard output for each turn: user, assistant, usage, receipt, seconds, ttft_ms; or user, error
    #[arg(long)]
    pub json: bool,
    /// What the started roles log, as tracing directives
    #[arg(long, default_value = "warn", env = "SECATEUR_LOG")]
    pub log: String,
}

impl ChatArguments {
    /// Time after which an answer counts as failed.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// The key to send. An empty value counts as none, as for the other commands.
    pub fn key(&self) -> Option<String> {
        self.api_key.as_deref().and_then(key::first)
    }

    /// What every request asks for, of the model with that name.
    pub fn settings(&self, model: String) -> Settings {
        Settings {
            model,
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            seed: self.seed,
            policy: Policy { visual: self.visual.clone(), transfer: self.transfer },
        }
    }
}

fn parse_temperature(text: &str) -> Result<f64, String> {
    let temperature = text.parse().ok().filter(|temperature| (0.0..=2.0).contains(temperature));
    temperature.ok_or_else(|| "must be a number from 0 to 2".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        arguments: ChatArguments,
    }

    fn parse(flags: &[&str]) -> Result<ChatArguments, clap::Error> {
        let flags = std::iter::once("chat").chain(flags.iter().copied());
        Program::try_parse_from(flags).map(|program| program.arguments)
    }

    #[test]
    fn flags_become_settings() {
        let found =
            parse(&["--visual", "coverage:0.5", "--transfer", "tiered:4.5", "--seed", "-3", "--api-key", " ,a,b"]);
        let found = found.unwrap();
        assert_eq!((found.url.as_str(), found.key().as_deref()), ("http://127.0.0.1:8080", Some("a")));
        let settings = found.settings("m".to_owned());
        assert_eq!(
            (settings.seed, settings.policy.to_string()),
            (Some(-3), "visual coverage:0.5, transfer tiered:4.5".into())
        );
        assert_eq!(parse(&["--image", "a", "--image", "b"]).unwrap().image.len(), 2);
        assert_eq!(parse(&["--start"]).unwrap().start, Some(None));
        assert_eq!(parse(&["--start", "d", "--plan", "p"]).unwrap().start, Some(Some("d".into())));
    }

    #[test]
    fn what_cannot_be_done_is_bad_usage() {
        let cases: [&[&str]; 8] = [
            &["--url", "h:80"],
            &["--url", "http://h:80", "--start"],
            &["--plan", "p"],
            &["--max-tokens", "0"],
            &["--temperature", "2.5"],
            &["--temperature", "NaN"],
            &["--visual", "none:1.5"],
            &["--transfer", "telepathy"],
        ];
        for flags in cases {
            assert_eq!(parse(flags).unwrap_err().exit_code(), 2, "{flags:?}");
        }
    }
}
