//! One binary for everything: `secateur up` starts a whole cluster, `secateur router|prefill|decode` one role.
//!
//! ```text
//! bench/          load on a router, and latencies and throughput as a client sees them
//! chat/           a conversation in a terminal, or from a script
//! cli.rs          the commands, as clap parses them
//! client/         a client of a router, which commands share
//! command.rs      the whole command line as data: for completions and the reference
//! completions.rs  shell completions
//! demo.rs         the checkpoint that is part of this binary, unpacked once into the user's cache
//! doctor/         problems that prevent good serving, explained in words
//! eval/           the quality of a checkpoint under policies, measured through a cluster
//! health.rs       whether one program of a cluster would serve
//! key/            API keys: a new one, and the one that commands send to a router
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
mod chat;
mod cli;
mod client;
mod command;
mod completions;
mod console;
mod demo;
mod doctor;
mod eval;
mod health;
mod key;
mod nodes;
mod plan;
mod progress;
mod receipt_lines;
mod reference;
mod running;
mod suite;
mod synth;
mod up;
mod usage;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;

use cli::{Cli, Command};

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
        Command::Chat(arguments) => chat::run(*arguments),
        Command::Bench(arguments) => bench::run(*arguments),
        Command::Eval(arguments) => eval::run(*arguments),
        Command::Plan(arguments) => plan::run(*arguments),
        Command::Doctor(arguments) => doctor::run(*arguments),
        Command::Synth(arguments) => synth::run(arguments),
        Command::Health(arguments) => health::run(*arguments),
        Command::Key(arguments) => usage::finish(key::run(arguments)),
        Command::Completions(arguments) => usage::finish(completions::run(arguments)),
        Command::Reference => usage::finish(reference::run()),
        Command::Router(role) => secateur_router::run_to_exit(role.named("secateur router")),
        Command::Prefill(role) => secateur_prefill_node::run(role.named("secateur prefill")),
        Command::Decode(role) => secateur_decode_node::run(role.named("secateur decode")),
    }
}
