//! `secateur doctor`: what stands in the way of serving well, in words.
//!
//! ```text
//! arguments.rs  the command line
//! check.rs      one thing looked at: whether it is well, what was found, what to do
//! link.rs       the link between two nodes, measured by the first one
//! shipment.rs   what a prompt's shipment weighs, and how long it takes on a link (plain data)
//! verdict.rs    what that means, in words (plain data)
//! report.rs     lines for a person, and the JSON document
//! ```
//!
//! A new check is a function that returns a [`Check`], called in [`examine`].

mod arguments;
mod check;
mod link;
mod report;
mod shipment;
mod verdict;

use std::process::ExitCode;

use secateur_common::{
    shutdown,
    telemetry::{self, LogFormat},
};

use crate::usage;
pub use arguments::DoctorArguments;
use check::Check;
use link::LinkFound;

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

/// Everything that was asked for, in order.
async fn examine(arguments: &DoctorArguments) -> anyhow::Result<Findings> {
    let mut findings = Findings::default();
    link::examine(arguments, &mut findings).await?;
    Ok(findings)
}
