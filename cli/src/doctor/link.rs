//! The link between two nodes; the first node is asked to measure it, since only that node has this link.

use secateur_channel::Channels;
use secateur_proto::{
    ErrorCode, ServiceError,
    v1::{LinkReport, NodeDescription, Role},
};

use super::{
    DoctorArguments, amounts,
    check::Check,
    findings::{Findings, LinkFound},
    peers::who,
    reach,
    shipment::Prompt,
    verdict,
};
use crate::{nodes, usage::usage};

const NAME: &str = "link";

/// Refuses link arguments that cannot be measured.
pub fn check_usage(arguments: &DoctorArguments, channels: &Channels) -> anyhow::Result<()> {
    let [from, to] = arguments.link.as_slice() else { return Ok(()) };
    for address in [from, to] {
        secateur_node::link::open(channels, address)
            .map_err(|error| usage(format!("--link: `{address}` is no node: {error}")))?;
    }
    if from == to {
        return Err(usage(format!("--link: {from} is given twice; a link has two ends")));
    }
    Ok(())
}

/// Examines both nodes, the link between them, and its consequences.
pub async fn examine(arguments: &DoctorArguments, channels: &Channels, findings: &mut Findings) -> anyhow::Result<()> {
    let [from, to] = arguments.link.as_slice() else { return Err(usage("--link needs two nodes")) };
    // The prompt is checked first, so that two seconds of measurement are not wasted.
    let prompt = Prompt::of(arguments)?;
    let prefill = match reach::node(channels, from, None).await {
        Ok(seen) => seen.description,
        Err(trouble) => {
            findings.checks.push(reach::verdict(from, &trouble));
            return Ok(());
        }
    };
    findings.checks.push(Check::ok(format!("node {from}"), who(&prefill)));
    let decode = reach::node(channels, to, None).await.map(|seen| seen.description);
    let report = nodes::measure_link(channels, from, to).await;
    findings.checks.push(match (&decode, &report) {
        (Ok(decode), _) => Check::ok(format!("node {to}"), who(decode)),
        (Err(_), Ok(_)) => Check::ok(format!("node {to}"), format!("does not answer to this machine, but to {from}")),
        (Err(trouble), Err(_)) => reach::verdict(to, trouble),
    });
    match report {
        Err(error) => findings.checks.push(broken(from, to, &error, decode.is_ok())),
        Ok(report) => {
            findings.checks.push(measured(&report, &prefill, decode.as_ref().ok()));
            let shipments = prompt.shipments(report.mbit_s, report.round_trip_ms);
            let prefill_s = arguments.prefill_tokens_per_s.map(|rate| f64::from(prompt.positions) / rate);
            findings.checks.push(verdict::shipment(&prompt, &shipments, prefill_s));
            findings.link = Some(LinkFound {
                from: from.clone(),
                to: to.clone(),
                round_trip_ms: report.round_trip_ms,
                mbit_s: report.mbit_s,
                bytes: report.bytes,
                seconds: report.seconds,
                model: prompt.model.clone(),
                positions: prompt.positions,
                visual_positions: prompt.visual,
                kv_bytes_per_token: prompt.bytes_per_token(),
                shipments,
                prefill_seconds: prefill_s,
            });
        }
    }
    Ok(())
}

/// The check for a first node that answered but could not measure.
fn broken(from: &str, to: &str, error: &ServiceError, answers_here: bool) -> Check {
    let advice = match (error.code, answers_here) {
        (ErrorCode::Overloaded, _) => {
            "try again in some seconds; a node is part of one measurement at a time".to_owned()
        }
        (ErrorCode::Incompatible, _) => "run one version of secateur on every node".to_owned(),
        (ErrorCode::Unavailable | ErrorCode::Timeout, true) => {
            format!("{to} answers to this machine, so look at the way from {from}: routes, firewalls, names")
        }
        (ErrorCode::Unavailable | ErrorCode::Timeout, false) => {
            format!("start the node at {to}, or correct its address in --link")
        }
        _ => format!("the log of {from} says more"),
    };
    Check::failed(NAME, format!("{from} could not measure its link to {to}: {error}"), advice)
}

fn measured(report: &LinkReport, from: &NodeDescription, to: Option<&NodeDescription>) -> Check {
    let found = format!(
        "{} Mbit/s, round trip {:.2} ms ({} in {:.2} s)",
        amounts::grouped(report.mbit_s.round() as u64),
        report.round_trip_ms,
        amounts::bytes(report.bytes),
        report.seconds,
    );
    let check = Check::ok(NAME, found);
    let is_backwards = from.role() == Role::Decode && to.is_some_and(|to| to.role() == Role::Prefill);
    if is_backwards {
        check.with_advice("KV goes from prefill to decode; this is the other way, name the prefill node first")
    } else {
        check
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_link_says_where_to_look() {
        let error = |code| ServiceError::new(code, "no node answers at the other address");
        let check = broken("p:1", "d:2", &error(ErrorCode::Unavailable), true);
        assert!(!check.ok && check.advice.contains("the way from p:1"), "{check:?}");
        let check = broken("p:1", "d:2", &error(ErrorCode::Unavailable), false);
        assert!(check.advice.contains("start the node at d:2"), "{check:?}");
        assert!(broken("p:1", "d:2", &error(ErrorCode::Overloaded), true).advice.contains("try again"));
    }

    #[test]
    fn a_link_that_was_measured_backwards_is_named() {
        let node = |role: Role| NodeDescription { role: role as i32, ..NodeDescription::default() };
        let report = LinkReport { mbit_s: 12_345.6, round_trip_ms: 0.5, bytes: 1 << 20, seconds: 1.0 };
        let check = measured(&report, &node(Role::Prefill), Some(&node(Role::Decode)));
        assert_eq!((check.ok, check.advice.as_str()), (true, ""));
        assert_eq!(check.found, "12,346 Mbit/s, round trip 0.50 ms (1.0 MiB in 1.00 s)");
        let check = measured(&report, &node(Role::Decode), Some(&node(Role::Prefill)));
        assert!(check.ok && check.advice.contains("prefill node first"));
    }
}
