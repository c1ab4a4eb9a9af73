//! Replacements for removed blocks, under the names in plan and tensors.

use secateur_model::calibrate::BlockRepair;
use secateur_pruning::pdtrim::{BlockSet, Repair, Stage, StageKind};

use super::tried::Tried;

/// Result of fitting the repairs.
#[derive(Clone, Debug, Default)]
pub struct Repaired {
    /// Repairs of blocks that prefill leaves out.
    pub prefill: Vec<BlockRepair>,
    /// Repairs of blocks that decode leaves out.
    pub decode: Vec<BlockRepair>,
    /// Losses with nothing removed, with the blocks removed, and repaired.
    pub loss: Losses,
    /// All combinations that were measured on the way.
    pub tried: Vec<Tried>,
}

/// Mean negative log-likelihood of the answers' tokens, in nats.
#[derive(Clone, Copy, Debug, Default)]
pub struct Losses {
    /// Loss of the unpruned model.
    pub dense: f64,
    /// Loss without the removed blocks.
    pub pruned: f64,
    /// Loss with the repairs.
    pub repaired: f64,
}

impl Repaired {
    /// The plan's stage that leaves `removed` out, with its repairs.
    pub fn stage(&self, kind: StageKind, removed: BlockSet) -> Stage {
        let repairs = self.of(kind);
        Stage::dropping(removed, |layer| match repairs.iter().find(|repair| repair.layer() == layer) {
            Some(repair @ BlockRepair::Linear(_)) => Repair::Linear { tensor: name(kind, repair) },
            Some(repair @ BlockRepair::Merged(merged)) => {
                Repair::Merged { with: merged.with(), tensors: name(kind, repair) }
            }
            None => Repair::None,
        })
    }

    /// Every repair with its name in `plan.safetensors`: a tensor's, or the prefix of a block's.
    pub fn named(&self) -> impl Iterator<Item = (StageKind, String, &BlockRepair)> {
        [StageKind::Prefill, StageKind::Decode]
            .into_iter()
            .flat_map(|kind| self.of(kind).iter().map(move |repair| (kind, name(kind, repair), repair)))
    }

    /// Every tensor of `plan.safetensors`, with its shape.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>, &[f32])> {
        let mut tensors = Vec::new();
        for (_, name, repair) in self.named() {
            match repair {
                BlockRepair::Linear(map) => tensors.push((name, vec![map.width(); 2], map.delta())),
                BlockRepair::Merged(merged) => tensors.extend(
                    merged
                        .tensors()
                        .iter()
                        .map(|tensor| (format!("{name}.{}", tensor.name), tensor.shape.clone(), &tensor.data[..])),
                ),
            }
        }
        tensors
    }

    fn of(&self, kind: StageKind) -> &[BlockRepair] {
        match kind {
            StageKind::Prefill => &self.prefill,
            StageKind::Decode => &self.decode,
        }
    }
}

fn name(kind: StageKind, repair: &BlockRepair) -> String {
    let how = match repair {
        BlockRepair::Linear(_) => "linear",
        BlockRepair::Merged(_) => "merged",
    };
    format!("{kind}.{}.{how}", repair.layer())
}
