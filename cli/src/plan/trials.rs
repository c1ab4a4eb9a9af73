//! The repairs that are fitted, and those that are kept.

use std::time::Instant;

use secateur_model::calibrate::{BlockRepair, Calibrator, Distillation, Phase, Prompts, Repairs, Roles, mergeable};
use secateur_pruning::pdtrim::{BlockSet, Rule};

use super::{
    arguments::RepairChoice,
    repairs::{Losses, Repaired},
    stages,
    tried::{Kind, Tried},
};
use crate::console::progress;

/// The removed blocks of both stages.
#[derive(Clone, Copy, Debug)]
pub struct Sets {
    /// Relation of the two sets.
    pub rule: Rule,
    /// Blocks that prefill leaves out.
    pub prefill: BlockSet,
    /// Blocks that decode leaves out.
    pub decode: BlockSet,
}

impl Sets {
    /// Removed blocks that each stage can merge. A block that prefill merges must be left out in decode as well:
    /// otherwise prefill still computes that block's keys and values, from a stream that the merged block has changed.
    fn mergeable(&self) -> (Vec<usize>, Vec<usize>) {
        let of = |removed: BlockSet| mergeable(&removed.iter().collect::<Vec<_>>());
        let prefill = of(self.prefill).into_iter().filter(|&layer| self.decode.contains(layer)).collect();
        (prefill, of(self.decode))
    }

    /// Possible repairs of each stage, simplest first. A plan may have prefill merge into a block that decode runs with
    /// its original weights only if decode merges into it as well.
    fn combinations(&self, choice: RepairChoice) -> Vec<(Kind, Vec<Kind>)> {
        let (prefill, decode) = self.mergeable();
        let can = |removed: BlockSet, merged: &[usize], kind| match kind {
            Kind::None => true,
            Kind::Linear => !removed.is_empty(),
            Kind::Merged => !merged.is_empty(),
        };
        let kinds = |removed: BlockSet, merged: &[usize]| {
            let most = [Kind::Merged, Kind::Linear, Kind::None].into_iter().find(|&kind| can(removed, merged, kind));
            match choice {
                RepairChoice::None => vec![Kind::None],
                RepairChoice::Linear if removed.is_empty() => vec![Kind::None],
                RepairChoice::Linear => vec![Kind::Linear],
                RepairChoice::Merged => most.into_iter().collect(),
                RepairChoice::Auto => {
                    let all = [Kind::None, Kind::Linear, Kind::Merged].into_iter();
                    all.filter(|&kind| can(removed, merged, kind)).collect()
                }
            }
        };
        let is_alone = |layer: &usize| self.decode.contains(layer - 1);
        let fits = |prompts: Kind, answers: &Kind| {
            prompts != Kind::Merged || *answers == Kind::Merged || prefill.iter().all(is_alone)
        };
        kinds(self.prefill, &prefill)
            .into_iter()
            .map(|prompts| {
                let answers = kinds(self.decode, &decode).into_iter().filter(|answers| fits(prompts, answers));
                (prompts, answers.collect())
            })
            .collect()
    }
}

/// Fits the repairs that `choice` asks for, and keeps those with the lowest loss on held-out samples.
pub fn fit(
    choice: RepairChoice,
    sets: Sets,
    distillation: &Distillation,
    calibrator: &mut Calibrator<'_>,
) -> anyhow::Result<Repaired> {
    let layers = calibrator.layers();
    let whole = stages::roles(sets.rule, layers, BlockSet::EMPTY, BlockSet::EMPTY);
    let dense = calibrator.loss(&whole.0, &whole.1)?;
    let (prompts, answers) = stages::roles(sets.rule, layers, sets.prefill, sets.decode);
    let pruned = calibrator.loss(&prompts, &answers)?;
    let mut best = Repaired { loss: Losses { dense, pruned, repaired: pruned }, ..Repaired::default() };
    if choice == RepairChoice::None || (sets.prefill.is_empty() && sets.decode.is_empty()) {
        return Ok(best);
    }
    if choice == RepairChoice::Auto && pruned <= dense {
        progress(&format!("nothing to repair: loss {pruned:.4} without the removed blocks, {dense:.4} dense"));
        return Ok(best);
    }
    let mut fitter = Fitter { sets, prompts: &prompts, distillation, calibrator };
    let (mut tried, mut lowest): (Vec<Tried>, Option<f64>) = (Vec::new(), None);
    for (kind, others) in sets.combinations(choice) {
        let started = Instant::now();
        let prefill = fitter.fit(Phase::Prefill, kind, &[])?;
        let shared = started.elapsed();
        for other in others {
            let started = Instant::now();
            let decode = fitter.fit(Phase::Decode, other, &prefill)?;
            let took = shared + started.elapsed();
            let repairs = Repairs { prefill: &prefill, decode: &decode };
            let loss = fitter.calibrator.loss_with(&prompts, &answers, repairs)?;
            let this = Tried { prefill: kind, decode: other, loss, took };
            progress(&format!("{this} ({pruned:.4} without repairs, {dense:.4} dense)"));
            tried.push(this);
            if lowest.is_none_or(|lowest| loss.held_out.total_cmp(&lowest).is_lt()) {
                lowest = Some(loss.held_out);
                let loss = Losses { dense, pruned, repaired: loss.all };
                best = Repaired { prefill: prefill.clone(), decode, loss, tried: Vec::new() };
            }
        }
    }
    Ok(Repaired { tried, ..best })
}

struct Fitter<'a, 'b> {
    sets: Sets,
    /// Roles of prompts, without repairs.
    prompts: &'a Roles,
    distillation: &'a Distillation,
    calibrator: &'a mut Calibrator<'b>,
}

impl Fitter<'_, '_> {
    /// Fits the repairs of one stage, given the `repairs` of prompts.
    fn fit(&mut self, phase: Phase, kind: Kind, repairs: &[BlockRepair]) -> anyhow::Result<Vec<BlockRepair>> {
        let (prefill, decode) = self.sets.mergeable();
        let (stage, removed, merged) = match phase {
            Phase::Prefill => ("prefill", self.sets.prefill, prefill),
            Phase::Decode => ("decode", self.sets.decode, decode),
        };
        let removed: Vec<usize> = removed.iter().collect();
        let prompts = Prompts { roles: self.prompts, repairs };
        Ok(match kind {
            Kind::None => Vec::new(),
            Kind::Linear => {
                progress(&format!("fitting linear maps for {removed:?} in {stage}"));
                self.calibrator.linear_repairs(phase, &removed, prompts)?
            }
            Kind::Merged => {
                progress(&format!("training blocks that take up {merged:?} of {removed:?} in {stage}"));
                self.calibrator.merged_repairs(phase, &removed, &merged, prompts, self.distillation)?
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(rule: Rule, prefill: &[usize], decode: &[usize]) -> Sets {
        let set = |blocks: &[usize]| BlockSet::of(blocks.iter().copied()).unwrap();
        Sets { rule, prefill: set(prefill), decode: set(decode) }
    }

    #[test]
    fn prefill_merges_only_what_decode_leaves_out_too() {
        let sets = sets(Rule::Relaxed, &[3, 6], &[6, 7]);
        assert_eq!(sets.mergeable(), (vec![6], vec![6]));
    }

    #[test]
    fn decode_merges_into_a_block_that_prefill_merges_into() {
        let combinations = sets(Rule::Subset, &[3], &[3, 6]).combinations(RepairChoice::Auto);
        let all = vec![Kind::None, Kind::Linear, Kind::Merged];
        let expected = [(Kind::None, all.clone()), (Kind::Linear, all), (Kind::Merged, vec![Kind::Merged])];
        assert_eq!(combinations, expected);
        // Decode does not run block 2, so its keys are never read there.
        let alone = sets(Rule::Subset, &[3], &[2, 3]).combinations(RepairChoice::Auto);
        assert_eq!(alone[2].1.len(), 3);
    }

    #[test]
    fn what_was_asked_for_is_all_that_is_fitted() {
        let both = sets(Rule::Subset, &[3], &[3, 4]);
        assert_eq!(both.combinations(RepairChoice::Merged), [(Kind::Merged, vec![Kind::Merged])]);
        assert_eq!(both.combinations(RepairChoice::Linear), [(Kind::Linear, vec![Kind::Linear])]);
        // Block 0 must stay unchanged, so block 1 gets a map.
        let first = sets(Rule::Subset, &[], &[1]);
        assert_eq!(first.combinations(RepairChoice::Merged), [(Kind::None, vec![Kind::Linear])]);
    }
}
