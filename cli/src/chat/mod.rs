//! `secateur chat`: a conversation in a terminal, or from a script, with a router or a cluster started for it.
//!
//! ```text
//! arguments.rs     the command line
//! session.rs       the loop: a message or a command in, an answer out
//! input.rs         lines, from an editor on a terminal or from standard input
//! complete.rs      completion of commands and paths
//! lines.rs         lines joined to messages
//! command.rs       commands inside a conversation
//! policy.rs        the policies that requests ask for
//! picture.rs       pictures of messages, read from files
//! conversation.rs  what was said, and what is sent of it
//! request.rs       the body of a request
//! asking.rs        one request, streamed
//! reading.rs       an answer that arrives
//! deltas.rs        the pieces of text in a chunk
//! failure.rs       why there is no answer
//! figures.rs       the line of figures below an answer
//! totals.rs        figures of the whole conversation
//! screen.rs        output
//! ```

mod arguments;
mod asking;
mod command;
mod complete;
mod conversation;
mod deltas;
mod failure;
mod figures;
mod input;
mod lines;
mod picture;
mod policy;
mod reading;
mod request;
mod screen;
mod session;
#[cfg(test)]
mod tests;
mod totals;

use std::{
    io::{IsTerminal, stdin, stdout},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, bail};
use secateur_common::telemetry::{self, LogFormat};
use tokio::signal::ctrl_c;

use crate::{
    client::connection::Client,
    console::progress,
    demo,
    doctor::before_start,
    up::cluster::{Cluster, Only, Plan},
    usage::{self, usage},
};
pub use arguments::ChatArguments;
use conversation::Conversation;
use input::Input;
use screen::Screen;
use session::{Manner, Session};

const INTERRUPTED: &str = "interrupted";

/// Runs the command.
pub fn run(arguments: ChatArguments) -> ExitCode {
    telemetry::init(&arguments.log, LogFormat::Text);
    usage::finish(start(arguments))
}

#[tokio::main]
async fn start(arguments: ChatArguments) -> anyhow::Result<()> {
    // Everything that can be refused is, before a process is started or a byte is sent.
    let conversation = opening(&arguments)?;
    match &arguments.start {
        Some(dir) => on_own_cluster(&arguments, dir.as_deref(), conversation).await,
        None => talk(&arguments, &arguments.url, conversation).await,
    }
}

/// The conversation before its first message.
fn opening(arguments: &ChatArguments) -> anyhow::Result<Conversation> {
    if arguments.start.is_none() && !arguments.node.flags(false, None).is_empty() {
        let text = "--dtype, --weights, --kv-memory and --threads are for the cluster that --start starts";
        return Err(usage(format!("{text}; the one at {} has its own", arguments.url)));
    }
    let pictures = picture::read_all(&arguments.image).map_err(|why| usage(format!("--image: {why}")))?;
    Ok(Conversation::new(arguments.system.clone(), pictures))
}

async fn on_own_cluster(
    arguments: &ChatArguments,
    dir: Option<&Path>,
    conversation: Conversation,
) -> anyhow::Result<()> {
    let (model, plan) = (demo::unless_given(dir)?, arguments.plan.as_deref());
    before_start::checkpoint(&arguments.node.asked(&model, dir.is_none(), plan))?;
    let plan = Plan {
        model,
        prefill: 1,
        decode: 1,
        node: arguments.node.flags(dir.is_none(), plan),
        only: Only::default(),
        port: 0,
        log: arguments.log.clone(),
    };
    let mut cluster = tokio::select! {
        started = Cluster::start(plan) => started?,
        // Dropping the handles stops the roles that were started.
        Ok(()) = ctrl_c() => bail!(INTERRUPTED),
    };
    let ended = talk_to(arguments, &mut cluster, conversation).await;
    // The cluster stops also after a failure, so that no process is left behind.
    cluster.stop().await;
    ended
}

async fn talk_to(arguments: &ChatArguments, cluster: &mut Cluster, conversation: Conversation) -> anyhow::Result<()> {
    tokio::select! {
        ready = cluster.ready() => ready?,
        Ok(()) = ctrl_c() => bail!(INTERRUPTED),
    }
    let url = cluster.base_url();
    tokio::select! {
        ended = talk(arguments, &url, conversation) => ended,
        () = cluster.supervise() => Ok(()),
    }
}

async fn talk(arguments: &ChatArguments, url: &str, conversation: Conversation) -> anyhow::Result<()> {
    let client = Client::new(url, arguments.key(), arguments.timeout())?;
    let model = match &arguments.model {
        Some(name) => name.clone(),
        None => client.model().await.with_context(|| format!("no conversation with {url}"))?,
    };
    let is_interactive = stdin().is_terminal() && stdout().is_terminal();
    if is_interactive {
        progress(&format!("talking to {model} at {url}; /help lists the commands, Ctrl-D ends the conversation"));
    }
    let manner = Manner { is_interactive, is_json: arguments.json };
    let (input, screen) = (Input::open(is_interactive)?, Screen::of_process(arguments.json));
    Session::new(client, arguments.settings(model), conversation, input, screen, manner).run().await
}
