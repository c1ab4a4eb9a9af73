//! One binary for everything: `secateur up` starts a whole cluster, `secateur router|prefill|decode` one role.
//!
//! ```text
//! bench/        load on a router, and what a client sees of it
//! demo.rs       the checkpoint that is part of this binary, unpacked once into the user's cache
//! doctor/       what stands in the way of serving well, in words
//! eval/         the quality of a checkpoint under policies, measured through a cluster
//! nodes.rs      questions to single nodes
//! plan/         a PDTrim plan for a checkpoint
//! suite/        cases with right answers, and which of them a command takes
//! synth/        a checkpoint of a real shape with random weights
//! up/           mod.rs: the command; child.rs: one role as a process; cluster.rs: all of them; sample.rs: the sample
//!               question over HTTP; report.rs: what is printed
//! usage.rs      errors and exit statuses of commands
//! ```

mod bench;
mod demo;
mod doctor;
mod eval;
mod nodes;
mod plan;
mod suite;
mod synth;
mod up;
mod usage;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "secateur",
    version,
    about = "Disaggregated prefill/decode serving that ships only the KV decode needs"
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
    /// Measure the quality of a checkpoint under pruning and transfer policies, as served by a cluster
    Eval(Box<eval::EvalArguments>),
    /// Compute a PDTrim plan: blocks that each stage leaves out, layers that send first and last tokens only
    Plan(Box<plan::PlanArguments>),
    /// Say in words what is wrong: the link between two nodes, and what it means for a prompt
    Doctor(doctor::DoctorArguments),
    /// Write a checkpoint of a real shape with random weights, to measure with
    Synth(synth::SynthArguments),
    /// Run a router (OpenAI HTTP in, gRPC out)
    #[command(disable_help_flag = true)]
    Router(RoleArguments),
    /// Run a prefill node
    #[command(disable_help_flag = true)]
    Prefill(RoleArguments),
    /// Run a decode node
    #[command(disable_help_flag = true)]
    Decode(RoleArguments),
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
            // Help and version also arrive here.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match cli.command {
        Command::Up(arguments) => up::run(arguments),
        Command::Bench(arguments) => bench::run(*arguments),
        Command::Eval(arguments) => eval::run(*arguments),
        Command::Plan(arguments) => plan::run(*arguments),
        Command::Doctor(arguments) => doctor::run(arguments),
        Command::Synth(arguments) => synth::run(arguments),
        Command::Router(role) => secateur_router::run_to_exit(role.named("secateur router")),
        Command::Prefill(role) => secateur_prefill_node::run(role.named("secateur prefill")),
        Command::Decode(role) => secateur_decode_node::run(role.named("secateur decode")),
    }
}

impl RoleArguments {
    /// With the program's name in front, as a command line has it.
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
