//! One binary for everything: `secateur up` starts a whole cluster, `secateur router|prefill|decode` one role.
//!
//! ```text
//! bench/          load on a router, and latencies and throughput as a client sees them
//! command.rs      the whole command line as data: for completions and the reference
//! completions.rs  shell completions
//! demo.rs         the checkpoint that is part of this binary, unpacked once into the user's cache
//! doctor/         problems that prevent good serving, explained in words
//! eval/           the quality of a checkpoint under policies, measured through a cluster
//! health.rs       whether one program of a cluster would serve
//! key.rs          the key that commands send to a router
//! nodes.rs        requests to single nodes
//! plan/           a PDTrim plan for a checkpoint
//! progress.rs     progress bars and lines
//! reference.rs    docs/configuration.md, written from the definitions
//! running.rs      the `secateur up` processes on this machine
//! suite/          cases with right answers, and the selection of cases for a command
//! synth/          a checkpoint of a real shape with random weights
//! up/             mod.rs: the command; roles.rs: command lines of the roles; child.rs: one role as a process;
//!                 cluster.rs: all of them; sample.rs: the sample question over HTTP; stop.rs: orderly stop;
//!                 report.rs, print_config.rs: output
//! usage.rs        errors and exit statuses of commands
//! ```

mod bench;
mod command;
mod completions;
mod demo;
mod doctor;
mod eval;
mod health;
mod key;
mod nodes;
mod plan;
mod progress;
mod reference;
mod running;
mod suite;
mod synth;
mod up;
mod usage;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Begin with:
  secateur up                          a cluster with the demo checkpoint, on this machine
  secateur up --model DIR              the same with a checkpoint of yours
  secateur doctor --model DIR          would it run here? if not, what to do
  secateur plan --model DIR --out P    which blocks each stage can leave out
  secateur eval --model DIR --plan P   what that costs in right answers
  secateur bench --model DIR           latencies, throughput, bytes shipped

Every command has --help, and ends with status 0 (well), 1 (failed) or 2 (bad usage).";

#[derive(Debug, Parser)]
#[command(
    name = "secateur",
    version,
    about = "Disaggregated prefill/decode serving that ships only the KV decode needs",
    after_help = EXAMPLES,
    max_term_width = 120
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a cluster on this machine, ask it a sample question, then serve until Ctrl-C
    Up(up::UpArguments),
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
    Completions(completions::CompletionsArguments),
    /// Print docs/configuration.md
    #[command(hide = true)]
    Reference,
}

/// A role parses its own arguments, the same way as its stand-alone program.
#[derive(Debug, clap::Args)]
struct RoleArguments {
    /// The role's settings; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Runs the program: arguments in, exit status out.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are also returned as errors.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match cli.command {
        Command::Up(arguments) => up::run(arguments),
        Command::Bench(arguments) => bench::run(*arguments),
        Command::Eval(arguments) => eval::run(*arguments),
        Command::Plan(arguments) => plan::run(*arguments),
        Command::Doctor(arguments) => doctor::run(*arguments),
        Command::Synth(arguments) => synth::run(arguments),
        Command::Health(arguments) => health::run(*arguments),
        Command::Completions(arguments) => usage::finish(completions::run(arguments)),
        Command::Reference => usage::finish(reference::run()),
        Command::Router(role) => secateur_router::run_to_exit(role.named("secateur router")),
        Command::Prefill(role) => secateur_prefill_node::run(role.named("secateur prefill")),
        Command::Decode(role) => secateur_decode_node::run(role.named("secateur decode")),
    }
}

impl RoleArguments {
    /// The arguments with the program's name in front, as on a command line.
    fn named(self, name: &str) -> Vec<OsString> {
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
