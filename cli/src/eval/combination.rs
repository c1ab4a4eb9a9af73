//! The combinations to measure: plan x visual x transfer, and those that they are compared with: the unpruned
//! reference, and for every keep rate the two baselines that choose tokens without looking at them.

use std::{fmt, path::PathBuf};

use secateur_model::VisualAdvice;
use serde_json::{Value, json};

use super::arguments::EvalArguments;
use crate::client::visual::Visual;

/// Baselines measured at every keep rate of a method.
const BASELINES: [&str; 2] = ["random", "keep-first"];
const UNPRUNED: &str = "none";
const AUTO: &str = "auto";
const DENSE: &str = "dense";
/// The method with the smallest loss wherever it was measured (docs/results.md).
const BEST: &str = "coverage";
/// A policy that depends on the plan's layers: it is not measured without a plan.
const OF_A_PLAN: &str = "pdtrim";

/// One row of the report, tags aside.
#[derive(Clone, Debug, PartialEq)]
pub struct Combination {
    /// Folder of the nodes' pruning plan; `None` for the unpruned model.
    pub plan: Option<PathBuf>,
    pub visual: Visual,
    pub transfer: String,
}

impl Combination {
    /// All visual tokens, and the `tiered` policy at the given bits.
    pub fn tiered_at(bits: f64) -> Combination {
        Combination { transfer: format!("tiered:{bits}"), ..Combination::reference() }
    }

    /// That share of the visual tokens, chosen by the method with the smallest loss; dense transfer.
    pub fn keeping(keep: f64) -> Combination {
        Combination { visual: visual(BEST, Some(keep)), ..Combination::reference() }
    }

    /// Nothing pruned, dense transfer: the reference for all others.
    pub fn reference() -> Combination {
        Combination { plan: None, visual: visual(UNPRUNED, None), transfer: DENSE.to_owned() }
    }

    /// The request's extension.
    pub fn extension(&self) -> Value {
        let mut visual = json!({"method": self.visual.method});
        if let Some(keep) = self.visual.keep {
            visual["keep"] = keep.into();
        }
        let transfer = match self.transfer.split_once(':') {
            None => json!({"policy": self.transfer}),
            Some((policy, bits)) => json!({"policy": policy, "bits": bits.parse::<f64>().ok()}),
        };
        json!({"visual": visual, "transfer": transfer})
    }

    /// The plan's human-readable name, which is its folder's.
    pub fn plan_name(&self) -> Option<String> {
        let name = self.plan.as_ref()?.file_name()?;
        Some(name.to_string_lossy().into_owned())
    }
}

impl fmt::Display for Combination {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}, {}", self.visual, self.transfer)?;
        self.plan_name().map_or(Ok(()), |plan| write!(out, ", plan {plan}"))
    }
}

/// Every combination once, the reference first, those of one plan together: each plan needs a cluster of its own.
pub fn of(arguments: &EvalArguments, advice: Option<&VisualAdvice>) -> Vec<Combination> {
    let asked = if arguments.visual.is_empty() { default_visuals(advice) } else { arguments.visual.clone() };
    let visuals = if arguments.only_given { asked } else { with_baselines(asked) };
    let mut all = Vec::new();
    if !arguments.only_given {
        all.push(Combination::reference());
    }
    for plan in in_order(arguments) {
        let has_plans = arguments.plans().iter().any(Option::is_some);
        for transfer in &arguments.transfer {
            if transfer == OF_A_PLAN && plan.is_none() && has_plans {
                continue;
            }
            for visual in &visuals {
                let combination =
                    Combination { plan: plan.clone(), visual: visual.clone(), transfer: transfer.clone() };
                if !all.contains(&combination) {
                    all.push(combination);
                }
            }
        }
    }
    // The reference comes first, because others are compared with its answers.
    if let Some(at) = all.iter().position(|combination| *combination == Combination::reference()) {
        all[..=at].rotate_right(1);
    }
    all
}

/// The requested plans, but the cluster without one first, because the reference is measured there.
fn in_order(arguments: &EvalArguments) -> Vec<Option<PathBuf>> {
    let mut plans = arguments.plans();
    plans.sort_by_key(Option::is_some);
    plans
}

/// The default of a request without an extension, and the card's advice for one picture, whatever the request has.
fn default_visuals(advice: Option<&VisualAdvice>) -> Vec<Visual> {
    let card = advice.filter(|advice| advice.method != UNPRUNED);
    let card = card.map(|advice| visual(&advice.method, Some(advice.keep)));
    std::iter::once(visual(AUTO, None)).chain(card).collect()
}

/// Adds the baselines at every keep rate. A method without a rate keeps what the router chooses, so baselines have no
/// rate to match; at rate 1 all methods are alike.
fn with_baselines(asked: Vec<Visual>) -> Vec<Visual> {
    let mut rates: Vec<f64> = Vec::new();
    for rate in asked.iter().filter_map(|visual| visual.keep).filter(|keep| *keep < 1.0) {
        if !rates.contains(&rate) {
            rates.push(rate);
        }
    }
    let baselines = rates.into_iter().flat_map(|rate| BASELINES.map(|method| visual(method, Some(rate))));
    asked.into_iter().chain(baselines).collect()
}

fn visual(method: &str, keep: Option<f64>) -> Visual {
    Visual { method: method.to_owned(), keep }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::tests::arguments;

    fn names(flags: &[&str]) -> Vec<String> {
        of(&arguments(flags), None).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_reference_and_the_baselines_of_each_rate_are_there_once() {
        let found = names(&["--visual", "trimtokenator:0.1,coverage:0.1,random:0.1,trimtokenator:0.5,none,coverage:1"]);
        let expected = [
            "none, dense",
            "trimtokenator:0.1, dense",
            "coverage:0.1, dense",
            "random:0.1, dense",
            "trimtokenator:0.5, dense",
            "coverage:1, dense",
            "keep-first:0.1, dense",
            "random:0.5, dense",
            "keep-first:0.5, dense",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn only_what_is_given_when_asked_so() {
        assert_eq!(names(&["--only-given", "--visual", "trimtokenator:0.9"]), ["trimtokenator:0.9, dense"]);
        assert_eq!(names(&["--only-given", "--visual", "none,none"]), ["none, dense"]);
    }

    #[test]
    fn the_default_is_what_requests_get_and_what_the_card_says() {
        let advice = VisualAdvice { method: "trimtokenator".to_owned(), keep: 0.9 };
        let found = of(&arguments(&[]), Some(&advice));
        let found: Vec<String> = found.iter().map(|found| found.visual.to_string()).collect();
        assert_eq!(found, ["none", "auto", "trimtokenator:0.9", "random:0.9", "keep-first:0.9"]);
        assert_eq!(names(&[]), ["none, dense", "auto, dense"]);
        let nothing = VisualAdvice { method: "none".to_owned(), keep: 1.0 };
        assert_eq!(of(&arguments(&[]), Some(&nothing)).len(), 2);
    }

    #[test]
    fn plans_stand_together_after_the_reference() {
        let dir = tempfile::tempdir().unwrap();
        let plan = dir.path().join("a");
        std::fs::create_dir(&plan).unwrap();
        let flags = ["--plan", plan.to_str().unwrap(), "--visual", "none", "--transfer", "dense,tiered"];
        assert_eq!(names(&flags), ["none, dense", "none, dense, plan a", "none, tiered, plan a"]);
        let found = names(&[&flags[..], &["--plan", "none", "--only-given"]].concat());
        assert_eq!(found, ["none, dense", "none, tiered", "none, dense, plan a", "none, tiered, plan a"]);
    }

    #[test]
    fn a_policy_about_a_plans_layers_is_asked_of_plans_alone() {
        let dir = tempfile::tempdir().unwrap();
        let plan = dir.path().join("a");
        std::fs::create_dir(&plan).unwrap();
        let given = ["--plan", "none", "--plan", plan.to_str().unwrap(), "--only-given", "--visual", "none"];
        let found = names(&[&given[..], &["--transfer", "dense,pdtrim"]].concat());
        assert_eq!(found, ["none, dense", "none, dense, plan a", "none, pdtrim, plan a"]);
        // Without a plan the policy is still requested, and the router explains the refusal.
        assert_eq!(names(&["--only-given", "--visual", "none", "--transfer", "pdtrim"]), ["none, pdtrim"]);
    }

    #[test]
    fn the_router_is_asked_in_its_own_words() {
        let asked = json!({"visual": {"method": "none"}, "transfer": {"policy": "dense"}});
        assert_eq!(Combination::reference().extension(), asked);
        let combination = Combination { visual: visual("random", Some(0.5)), ..Combination::reference() };
        assert_eq!(combination.extension()["visual"], json!({"method": "random", "keep": 0.5}));
        let finer = Combination { transfer: "tiered:4.5".to_owned(), ..Combination::reference() };
        assert_eq!(finer.extension()["transfer"], json!({"policy": "tiered", "bits": 4.5}));
    }
}
