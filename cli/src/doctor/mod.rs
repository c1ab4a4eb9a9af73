//! `secateur doctor`: problems that prevent good serving, explained in words.
//!
//! ```text
//! arguments.rs     the command line
//! asked.rs         the things to examine: flags, a role's configuration file, or those that a first start needs
//! check.rs         the result of one check: verdict, finding, advice
//! findings.rs      the results of a whole examination
//! amounts.rs       numbers, bytes and times in words
//! report.rs        lines for a person, and the JSON document
//!
//! port.rs          whether a program could listen on an address
//! model.rs         a checkpoint folder, examined with the loaders that the programs use:
//!   kind.rs          the kind of thing at the path
//!   folder.rs        whether it is a checkpoint, and where one may be
//!   architecture.rs  whether this version can run it
//!   plan.rs          whether the plan was made for it
//!   memory.rs        whether weights and KV fit (plain data)
//!   tokenizer.rs     whether a router can tokenize with it
//! peers.rs         running programs:
//!   router.rs        a router, and its view of its nodes
//!   reach.rs         how far a connection to a node gets
//!   versions.rs      whether nodes are compatible (plain data)
//!   clock.rs         whether clocks agree (plain data)
//! link.rs          the link between two nodes, measured by the first one
//!   shipment.rs      bytes of a prompt's shipment, and its time on a link (plain data)
//!   verdict.rs       the consequences, in words (plain data)
//! ```
//!
//! before_start.rs  the checks that commands make before they start anything
//!
//! A new check is a function that returns a [`Check`](check::Check), called in [`examine`].

mod amounts;
mod architecture;
mod arguments;
mod asked;
pub mod before_start;
mod check;
mod clock;
mod findings;
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
use findings::Findings;
use port::{Bound, Holder};

/// Runs the command; exits with status 1 if a check failed.
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

/// Examines everything requested, in order: this machine, its files, running programs, the links between them.
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

/// URLs of this user's running `secateur up` clusters, except the one examined already. A note whose port refuses
/// connections was left behind by a process that had no time to remove it.
async fn clusters_elsewhere(known: Option<&str>) -> Vec<String> {
    let mut urls = Vec::new();
    for url in running::all().into_iter().map(|running| running.url).filter(|url| Some(url.as_str()) != known) {
        if !matches!(reach::connect(url.trim_start_matches("http://")).await, Err(reach::Trouble::Refused)) {
            urls.push(url);
        }
    }
    urls
}
