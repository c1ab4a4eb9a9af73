//! The transfer policies to compare.

use std::path::Path;

use secateur_node::NodePlan;
use secateur_transfer::TransferPolicy;

use super::{arguments::BenchArguments, asked::Asked};
use crate::usage::usage;

/// The policies to ask for, each once, in the order given; `None` leaves the choice to the router. A policy that the
/// plan of a started cluster makes impossible is refused before anything starts; the plan of a running cluster is known
/// to its router only.
pub fn of(arguments: &BenchArguments) -> anyhow::Result<Vec<Option<TransferPolicy>>> {
    if arguments.transfer.is_empty() {
        return Ok(vec![None]);
    }
    let model = arguments.model.as_deref().unwrap_or(Path::new(""));
    let folder = arguments.plan.as_deref().and_then(|given| NodePlan::folder(given, model));
    let plan = folder.as_deref().map(NodePlan::open).transpose()?;
    let is_possible = |policy: TransferPolicy| {
        arguments.url.is_some() || policy.is_possible_with(plan.as_ref().map(|plan| &*plan.plan))
    };
    let mut found = Vec::new();
    for asked in &arguments.transfer {
        match *asked {
            Asked::All => found.extend(TransferPolicy::ALL.into_iter().filter(|policy| is_possible(*policy))),
            Asked::One(policy) if is_possible(policy) => found.push(policy),
            Asked::One(policy) => {
                let text = "needs --plan with a plan that has layers of first and last tokens alone";
                return Err(usage(format!("--transfer {policy} {text} (`secateur plan` makes one)")));
            }
        }
    }
    let mut once = Vec::new();
    for policy in found {
        if !once.contains(&Some(policy)) {
            once.push(Some(policy));
        }
    }
    Ok(once)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::tests::arguments;

    #[test]
    fn all_are_those_that_are_possible_each_once() {
        let found = |flags: &[&str]| of(&arguments(flags));
        assert_eq!(found(&[]).unwrap(), [None]);
        let possible: Vec<_> =
            TransferPolicy::ALL.into_iter().filter(|policy| policy.is_possible_with(None)).map(Some).collect();
        assert!(possible.len() < TransferPolicy::ALL.len());
        assert_eq!(found(&["--transfer", "all,all"]).unwrap(), possible);
        let running = found(&["--transfer", "all", "--url", "http://h:1"]).unwrap();
        assert_eq!(running.len(), TransferPolicy::ALL.len());
    }

    #[test]
    fn what_the_plan_does_not_allow_is_bad_usage() {
        let refused = of(&arguments(&["--transfer", "pdtrim"])).unwrap_err();
        assert!(refused.is::<crate::usage::Usage>() && refused.to_string().contains("--plan"), "{refused}");
    }
}
