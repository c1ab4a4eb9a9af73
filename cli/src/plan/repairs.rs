//! What stands in for removed blocks: nothing, or linear maps fitted on the calibration cases.

use secateur_model::calibrate::{Calibrator, LinearRepair, Phase, Prompts, Repairs};
use secateur_pruning::pdtrim::{BlockSet, Repair, Rule, Stage, StageKind};

use super::{arguments::RepairChoice, stages};
use crate::up::report::progress;

/// What is removed.
#[derive(Clone, Copy, Debug)]
pub struct Sets {
    /// How the two sets relate.
    pub rule: Rule,
    /// What prefill leaves out.
    pub prefill: BlockSet,
    /// What decode leaves out.
    pub decode: BlockSet,
}

/// What came of fitting.
#[derive(Clone, Debug, Default)]
pub struct Repaired {
    prefill: Vec<LinearRepair>,
    decode: Vec<LinearRepair>,
    /// Loss with nothing removed, with the blocks removed, and repaired.
    pub loss: Losses,
}

/// Mean negative log-likelihood of the answers' tokens, in nats.
#[derive(Clone, Copy, Debug, Default)]
pub struct Losses {
    /// Of the whole model.
    pub dense: f64,
    /// Without the removed blocks.
    pub pruned: f64,
    /// With what stands in for them.
    pub repaired: f64,
}

/// Fits what `choice` asks for. `auto` keeps, of each stage, all of its maps or none, whichever has the lower loss.
pub fn fit(choice: RepairChoice, sets: Sets, calibrator: &mut Calibrator<'_>) -> anyhow::Result<Repaired> {
    let layers = calibrator.layers();
    let whole = stages::roles(sets.rule, layers, BlockSet::EMPTY, BlockSet::EMPTY);
    let dense = calibrator.loss(&whole.0, &whole.1)?;
    let (prompts, answers) = stages::roles(sets.rule, layers, sets.prefill, sets.decode);
    let pruned = calibrator.loss(&prompts, &answers)?;
    let mut best = Repaired { loss: Losses { dense, pruned, repaired: pruned }, ..Repaired::default() };
    if choice == RepairChoice::None || (sets.prefill.is_empty() && sets.decode.is_empty()) {
        return Ok(best);
    }
    progress("fitting linear maps in the place of removed blocks");
    let removed: Vec<usize> = sets.prefill.iter().collect();
    let none = Prompts { roles: &prompts, repairs: &[] };
    let prefill = calibrator.linear_repairs(Phase::Prefill, &removed, none)?;
    let removed: Vec<usize> = sets.decode.iter().collect();
    let kept = Prompts { roles: &prompts, repairs: &prefill };
    let decode = calibrator.linear_repairs(Phase::Decode, &removed, kept)?;
    for (prefill, decode) in [(&prefill[..], &decode[..]), (&prefill[..], &[]), (&[], &decode[..])] {
        let repaired = calibrator.loss_with(&prompts, &answers, Repairs { prefill, decode })?;
        progress(&format!(
            "loss {repaired:.4} with maps for {} blocks in prefill and {} in decode, {pruned:.4} without, {dense:.4} dense",
            prefill.len(),
            decode.len()
        ));
        if repaired < best.loss.repaired || choice == RepairChoice::Linear {
            let loss = Losses { dense, pruned, repaired };
            best = Repaired { prefill: prefill.to_vec(), decode: decode.to_vec(), loss };
        }
        if choice == RepairChoice::Linear {
            break;
        }
    }
    Ok(best)
}

impl Repaired {
    /// A stage that leaves `removed` out.
    pub fn stage(&self, kind: StageKind, removed: BlockSet) -> Stage {
        let maps = self.maps(kind);
        Stage::dropping(removed, |layer| match maps.iter().any(|map| map.layer() == layer) {
            true => Repair::Linear { tensor: tensor(kind, layer) },
            false => Repair::None,
        })
    }

    /// Every map with its name in `plan.safetensors`.
    pub fn named(&self) -> impl Iterator<Item = (String, &LinearRepair)> {
        [StageKind::Prefill, StageKind::Decode]
            .into_iter()
            .flat_map(|kind| self.maps(kind).iter().map(move |map| (tensor(kind, map.layer()), map)))
    }

    fn maps(&self, kind: StageKind) -> &[LinearRepair] {
        match kind {
            StageKind::Prefill => &self.prefill,
            StageKind::Decode => &self.decode,
        }
    }
}

fn tensor(kind: StageKind, layer: usize) -> String {
    format!("{kind}.{layer}.linear")
}
