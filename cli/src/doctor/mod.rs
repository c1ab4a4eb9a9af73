//! `secateur doctor`: what stands in the way of serving well, in words.
//!
//! ```text
//! arguments.rs     the command line
//! asked.rs         what there is to look at: flags, a role's configuration file, or what a first start needs
//! check.rs         one thing looked at: whether it is well, what was found, what to do
//! report.rs        lines for a person, and the JSON document
//!
//! port.rs          whether a program could listen on an address
//! model.rs         a checkpoint folder, by the loaders that the programs use:
//!   kind.rs          what kind of thing the path is
//!   folder.rs        is it one, and where is one
//!   architecture.rs  can this version run it
//!   plan.rs          was the plan made for it
//!   memory.rs        do weights and KV fit (plain data)
//!   tokenizer.rs     can a router make tokens with it
//! peers.rs         running programs:
//!   router.rs        a router, and how it sees its nodes
//!   reach.rs         how far one comes towards a node
//!   versions.rs      do nodes fit together (plain data)
//!   clock.rs         do clocks agree (plain data)
//! link.rs          the link between two nodes, measured by the first one
//!   shipment.rs      what a prompt's shipment weighs, and how long it takes on a link (plain data)
//!   verdict.rs       what that means, in words (plain data)
//! ```
//!
//! before_start.rs  those of them that `secateur up` makes before it starts anything
//!
//! A new check is a function that returns a [`Check`], called in [`examine`].

mod architecture;
mod arguments;
mod asked;
pub mod before_start;
mod check;
mod clock;
mod folder;
mod kind;
mod link;
mod memory;
mod model;
mod peers;
mod plan;
mod port;
mod reach;
mod report;
mod router;
mod shipment;
mod tokenizer;
mod verdict;
mod versions;

use std::process::ExitCode;

use secateur_common::{
    shutdown,
    telemetry::{self, LogFormat},
};

use crate::{
    running,
    usage::{self, usage},
};
pub use arguments::DoctorArguments;
use asked::Asked;
pub use asked::AskedModel;
use check::Check;
use link::LinkFound;
use port::{Bound, Holder};

/// What was looked at.
#[derive(Debug, Default)]
struct Findings {
    checks: Vec<Check>,
    /// Figures of the link, where it could be measured.
    link: Option<LinkFound>,
}

/// Runs the command; status 1 where a check is not well.
pub fn run(arguments: DoctorArguments) -> ExitCode {
    telemetry::init(&arguments.log, LogFormat::Text);
    match start(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => usage::finish(Err(error)),
    }
}

#[tokio::main]
async fn start(arguments: &DoctorArguments) -> anyhow::Result<bool> {
    let stop = shutdown::on_signal();
    let findings = tokio::select! {
        findings = examine(arguments) => findings?,
        () = stop.cancelled() => anyhow::bail!("interrupted"),
    };
    if arguments.json {
        report::json(&findings)?
    } else {
        report::text(&findings)
    }
    Ok(findings.checks.iter().all(|check| check.ok))
}

/// Everything that was asked for, in order: this machine, what is on its disk, what runs, what lies between.
async fn examine(arguments: &DoctorArguments) -> anyhow::Result<Findings> {
    let mut findings = Findings::default();
    let mut asked = Asked::of(arguments, &mut findings.checks)?;
    let channels = asked.security.channels().map_err(|error| usage(error.to_string()))?;
    link::check_usage(arguments, &channels)?;
    if let Some(listen) = &asked.listen {
        let (check, bound) = port::examine(listen).await;
        findings.checks.push(check);
        if listen.is_guess && bound == Bound::InUse(Holder::Router) {
            asked.url = Some(format!("http://{}", listen.address));
        }
    }
    let is_model_well = asked.model.as_ref().is_none_or(|model| model::examine(model, &mut findings.checks));
    peers::examine(&asked, &channels, &mut findings.checks).await;
    if arguments.is_open() {
        for url in clusters_elsewhere(asked.url.as_deref()).await {
            let cluster = Asked { url: Some(url), security: asked.security.clone(), ..Asked::default() };
            peers::examine(&cluster, &channels, &mut findings.checks).await;
        }
    }
    if is_model_well && !arguments.link.is_empty() {
        link::examine(arguments, &channels, &mut findings).await?;
    }
    Ok(findings)
}

/// Where `secateur up` of this user serve, but for the one that is looked at already. A note of one whose port nobody has
/// was left behind by a process that had no time to remove it.
async fn clusters_elsewhere(known: Option<&str>) -> Vec<String> {
    let mut urls = Vec::new();
    for url in running::all().into_iter().map(|running| running.url).filter(|url| Some(url.as_str()) != known) {
        if !matches!(reach::connect(url.trim_start_matches("http://")).await, Err(reach::Trouble::Refused)) {
            urls.push(url);
        }
    }
    urls
}
