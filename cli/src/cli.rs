//! The command line: its commands, and the arguments of those that have no file of their own.

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::{bench, chat, doctor, eval, health, key, plan, synth, up};

const EXAMPLES: &str = "\
Begin with:
  secateur up                          a cluster with the demo checkpoint, on this machine
  secateur up --model DIR              the same with a checkpoint of yours
  secateur chat                        a conversation with it
  secateur doctor --model DIR          would it run here? if not, what to do
  secateur plan --model DIR --out P    which blocks each stage can leave out
  secateur eval --model DIR --plan P   what that costs in right answers
  secateur bench --model DIR           latencies, throughput, bytes shipped

Every command has --help, and ends with status 0 (well), 1 (failed) or 2 (bad usage).";

#[derive(Debug, Parser)]
#[command(
    name = "secateur",
    version = secateur_common::version::long(),
    about = "Disaggregated prefill/decode serving that ships only the KV decode needs",
    after_help = EXAMPLES,
    max_term_width = 120
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a cluster on this machine, ask it a sample question, then serve until Ctrl-C
    Up(up::UpArguments),
    /// Talk to a router, or to a cluster started for it, and see what each answer cost
    Chat(Box<chat::ChatArguments>),
    /// Measure a router, or a cluster started for it: latencies, throughput, bytes shipped
    Bench(Box<bench::BenchArguments>),
    /// Measure the quality of a checkpoint under pruning and transfer policies
    Eval(Box<eval::EvalArguments>),
    /// Compute a PDTrim plan: what each stage leaves out, and what is sent
    Plan(Box<plan::PlanArguments>),
    /// Say what is wrong and what to do: ports, checkpoint, memory, nodes, links
    Doctor(Box<doctor::DoctorArguments>),
    /// Write a checkpoint of a real shape with random weights, to measure with
    Synth(synth::SynthArguments),
    /// Ask a router or a node whether it would serve: exit status 0, or 1 with the reason
    Health(Box<health::HealthArguments>),
    /// Make API keys for a router
    Key(key::KeyArguments),
    /// Run a router (OpenAI HTTP in, gRPC out)
    #[command(disable_help_flag = true)]
    Router(RoleArguments),
    /// Run a prefill node
    #[command(disable_help_flag = true)]
    Prefill(RoleArguments),
    /// Run a decode node
    #[command(disable_help_flag = true)]
    Decode(RoleArguments),
    /// Print what a shell needs to complete commands and flags
    Completions(CompletionsArguments),
    /// Print docs/configuration.md
    #[command(hide = true)]
    Reference,
}

/// A role parses its own arguments, the same way as its stand-alone program.
#[derive(Debug, Args)]
pub struct RoleArguments {
    /// The role's settings; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Arguments of `secateur completions`.
#[derive(Clone, Copy, Debug, Args)]
pub struct CompletionsArguments {
    /// The shell
    pub shell: Shell,
}

impl RoleArguments {
    /// The arguments with the program's name in front, as on a command line.
    pub fn named(self, name: &str) -> Vec<OsString> {
        std::iter::once(OsString::from(name)).chain(self.arguments).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_role_gets_its_flags_untouched() {
        let cli = Cli::try_parse_from(["secateur", "decode", "--help", "--model", "x"]).unwrap();
        let Command::Decode(role) = cli.command else { panic!("decode") };
        assert_eq!(role.named("d"), ["d", "--help", "--model", "x"]);
    }
}
