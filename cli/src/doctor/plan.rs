//! Check whether a plan folder is readable and was made for a checkpoint, using the nodes' loader.

use std::path::Path;

use secateur_model::ModelInfo;
use secateur_node::NodePlan;
use secateur_pruning::pdtrim::StageKind;

use super::check::Check;

const NAME: &str = "plan";

/// Examines the plan in `plan` for the checkpoint in `dir`, which `info` describes.
pub fn examine(plan: &Path, dir: &Path, info: &ModelInfo) -> Check {
    let anew = format!("make one for this checkpoint: `secateur plan --model {} --out PLAN`", dir.display());
    let Some(folder) = NodePlan::folder(plan, dir) else {
        return Check::ok(NAME, "the checkpoint has none of its own, so none is run");
    };
    let opened = match NodePlan::open(&folder) {
        Ok(opened) => opened,
        Err(error) => {
            let advice = format!("give the folder that `secateur plan --out` wrote, as it was written; or {anew}");
            return Check::failed(NAME, format!("{error:#}"), advice);
        }
    };
    if let Err(error) = NodePlan::of(Some(&folder), dir) {
        return Check::failed(NAME, format!("{error:#}"), anew);
    }
    let layers = opened.plan.document().layers;
    if layers != info.layers {
        return Check::failed(NAME, format!("it is for {layers} blocks, the checkpoint has {}", info.layers), anew);
    }
    Check::ok(NAME, describe(&opened))
}

fn describe(plan: &NodePlan) -> String {
    let layers = plan.plan.document().layers;
    let runs = |kind| plan.plan.kept(kind).count();
    format!(
        "{}: prefill runs {} of {layers} blocks, decode {}; made for this checkpoint",
        &plan.id[..plan.id.len().min(12)],
        runs(StageKind::Prefill),
        runs(StageKind::Decode)
    )
}
