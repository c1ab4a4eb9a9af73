//! Conditions that a plan must satisfy before it runs. Each error names the field and its limit.

use super::{
    block_set::{BlockOutOfRange, BlockSet},
    document::{FORMAT, KvRule, PlanDocument, Removed, Repair, Rule, Scores, Stage, StageKind, TierRule},
    retention::RetentionError,
    search::StageLog,
};

/// The reason why a plan is refused.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The text is not JSON, or not of this shape.
    #[error("plan.json does not read: {0}")]
    Json(#[from] serde_json::Error),
    /// The plan has a format that this build does not read.
    #[error("format is {0}; this build reads {FORMAT}")]
    Format(u32),
    /// The fingerprint, which is compared with the checkpoint's, is empty.
    #[error("model_fingerprint is empty")]
    NoFingerprint,
    /// The plan has no blocks, or too many.
    #[error("layers is {0}; it must be 1 to {max}", max = BlockSet::CAPACITY)]
    Layers(usize),
    /// A block index exceeds the capacity of a set.
    #[error(transparent)]
    Block(#[from] BlockOutOfRange),
    /// A block index exceeds the checkpoint's last block.
    #[error("{field} has block {layer}; the last one is {last}")]
    Range {
        /// The field.
        field: String,
        /// The block in the plan.
        layer: usize,
        /// Last block of the checkpoint.
        last: usize,
    },
    /// A list is not in ascending order.
    #[error("{field} must be ascending without repeats, but block {layer} follows block {before}")]
    Order {
        /// The field.
        field: String,
        /// The preceding block.
        before: usize,
        /// The block that is out of order.
        layer: usize,
    },
    /// The plan drops the first or the last block.
    #[error("{field} has block {layer}; the first and the last block must stay as they are")]
    Protected {
        /// The field.
        field: String,
        /// The block in the plan.
        layer: usize,
    },
    /// Prefill drops a block that decode keeps.
    #[error("prefill.removed has block {0}, which decode keeps; rule `subset` wants decode to drop it too")]
    Subset(usize),
    /// A repair is not possible.
    #[error("{stage}.removed: the repair of block {layer} {fault}")]
    Repair {
        /// The stage of the repair.
        stage: StageKind,
        /// The dropped block.
        layer: usize,
        /// The fault.
        fault: RepairFault,
    },
    /// The KV rule of a block that sends nothing.
    #[error("kv has layer {0}, which decode drops, so it sends nothing")]
    KvOfDropped(usize),
    /// A KV rule has numbers out of range.
    #[error("kv, layer {layer}: {source}")]
    Kv {
        /// The layer of the rule.
        layer: usize,
        /// The fault.
        source: RetentionError,
    },
    /// A tier has a number of bits that no value can have.
    #[error("tiers.{field} is {bits}; it must be 2 to 10 in quarters, or 16")]
    Tiers {
        /// The field.
        field: &'static str,
        /// The number of bits in the plan.
        bits: f64,
    },
    /// A list of scores has a wrong length, so it belongs to another model.
    #[error("{field} has {found} values; it must have none or one for each of the {layers} layers")]
    Length {
        /// The field.
        field: String,
        /// Number of values in the plan.
        found: usize,
        /// Blocks of the checkpoint.
        layers: usize,
    },
    /// A number is NaN or infinite, which JSON cannot express.
    #[error("{field} is not a finite number")]
    NotFinite {
        /// The field.
        field: String,
    },
}

/// The fault of a repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RepairFault {
    /// The repair names no tensor.
    #[error("names no tensor")]
    Unnamed,
    /// The block merges with one that is not directly before or after it.
    #[error("merges with block {0}, which is not its neighbour")]
    NotNeighbour(usize),
    /// The neighbour to merge with does not run.
    #[error("merges with block {0}, which is dropped too")]
    WithDropped(usize),
    /// The neighbour to merge with is the first or the last block.
    #[error("merges with block {0}; the first and the last block must stay as they are")]
    WithProtected(usize),
    /// The neighbour to merge with would get two sets of weights.
    #[error("merges with block {0}, which another block merges with already")]
    WithTaken(usize),
    /// Prefill would compute keys that no query of decode was fitted to.
    #[error("merges with block {0}, whose keys decode reads but by the checkpoint's weights; decode must merge it too")]
    DecodeDiffers(usize),
}

/// Checks the whole plan.
pub(super) fn check(plan: &PlanDocument) -> Result<(), PlanError> {
    if plan.format != FORMAT {
        return Err(PlanError::Format(plan.format));
    }
    if plan.model_fingerprint.is_empty() {
        return Err(PlanError::NoFingerprint);
    }
    if !(1..=BlockSet::CAPACITY).contains(&plan.layers) {
        return Err(PlanError::Layers(plan.layers));
    }
    let prefill = check_stage(StageKind::Prefill, &plan.prefill, plan.layers)?;
    let decode = check_stage(StageKind::Decode, &plan.decode, plan.layers)?;
    let early = prefill.difference(decode).iter().next();
    if let (Rule::Subset, Some(layer)) = (plan.rule, early) {
        return Err(PlanError::Subset(layer));
    }
    check_merged_keys(plan, decode)?;
    check_kv(&plan.kv, decode, plan.layers)?;
    plan.tiers.as_ref().map_or(Ok(()), check_tiers)?;
    check_scores(&plan.scores, plan.layers)?;
    check_log("search.prefill", plan.search.prefill.as_ref(), plan.layers)?;
    check_log("search.decode", plan.search.decode.as_ref(), plan.layers)
}

fn check_tiers(tiers: &TierRule) -> Result<(), PlanError> {
    let fields = [("middle_bits", tiers.middle_bits), ("selected_bits", tiers.selected_bits)];
    match fields.into_iter().find(|(_, bits)| !TierRule::has(*bits)) {
        Some((field, bits)) => Err(PlanError::Tiers { field, bits }),
        None => Ok(()),
    }
}

/// Checks one stage. At least one block always remains, because the first and the last are protected.
fn check_stage(kind: StageKind, stage: &Stage, layers: usize) -> Result<BlockSet, PlanError> {
    let field = format!("{kind}.removed");
    check_list(&field, stage.removed.iter().map(|removed| removed.layer), layers)?;
    let dropped = BlockSet::of(stage.removed.iter().map(|removed| removed.layer))?;
    let ends = BlockSet::ends(layers)?;
    if let Some(layer) = dropped.intersection(ends).iter().next() {
        return Err(PlanError::Protected { field, layer });
    }
    let mut taken = BlockSet::EMPTY;
    for removed in &stage.removed {
        let fault = |fault| PlanError::Repair { stage: kind, layer: removed.layer, fault };
        if let Some(with) = check_repair(removed, dropped, ends).map_err(fault)? {
            if taken.contains(with) {
                return Err(fault(RepairFault::WithTaken(with)));
            }
            taken = taken.with(with);
        }
    }
    Ok(dropped)
}

/// Checks the repair of a dropped block and returns the neighbour that it merges into, if any.
fn check_repair(removed: &Removed, dropped: BlockSet, ends: BlockSet) -> Result<Option<usize>, RepairFault> {
    match &removed.repair {
        Repair::None => Ok(None),
        Repair::Linear { tensor: name } | Repair::Merged { tensors: name, .. } if name.is_empty() => {
            Err(RepairFault::Unnamed)
        }
        Repair::Linear { .. } => Ok(None),
        Repair::Merged { with, .. } if with.abs_diff(removed.layer) != 1 => Err(RepairFault::NotNeighbour(*with)),
        Repair::Merged { with, .. } if dropped.contains(*with) => Err(RepairFault::WithDropped(*with)),
        Repair::Merged { with, .. } if ends.contains(*with) => Err(RepairFault::WithProtected(*with)),
        Repair::Merged { with, .. } => Ok(Some(*with)),
    }
}

/// \[R\] Where prefill's keys come from merged weights, decode's queries must come from merged weights too. The reverse
/// is not required: a block merged for decode alone is fitted to the keys that prefill gives it.
fn check_merged_keys(plan: &PlanDocument, decode: BlockSet) -> Result<(), PlanError> {
    let in_decode = BlockSet::of(merges(&plan.decode).map(|(_, with)| with))?;
    // Prefill has no residual stream at a block that it merged away, so it cannot compute that block's keys for decode.
    let lost = merges(&plan.prefill)
        .find(|&(layer, with)| !decode.contains(layer) || (!decode.contains(with) && !in_decode.contains(with)));
    lost.map_or(Ok(()), |(layer, with)| {
        let fault = RepairFault::DecodeDiffers(with);
        Err(PlanError::Repair { stage: StageKind::Prefill, layer, fault })
    })
}

/// The dropped block and its running neighbour, for each merged pair.
fn merges(stage: &Stage) -> impl Iterator<Item = (usize, usize)> {
    stage.removed.iter().filter_map(|removed| match removed.repair {
        Repair::Merged { with, .. } => Some((removed.layer, with)),
        _ => None,
    })
}

fn check_kv(rules: &[KvRule], decode: BlockSet, layers: usize) -> Result<(), PlanError> {
    check_list("kv", rules.iter().map(|rule| rule.layer), layers)?;
    for rule in rules {
        let layer = rule.layer;
        if decode.contains(layer) {
            return Err(PlanError::KvOfDropped(layer));
        }
        rule.retention().map_err(|source| PlanError::Kv { layer, source })?;
    }
    Ok(())
}

fn check_list(field: &str, list: impl Iterator<Item = usize>, layers: usize) -> Result<(), PlanError> {
    let mut before = None;
    for layer in list {
        if layer >= layers {
            return Err(PlanError::Range { field: field.into(), layer, last: layers - 1 });
        }
        if let Some(before) = before.filter(|&before| before >= layer) {
            return Err(PlanError::Order { field: field.into(), before, layer });
        }
        before = Some(layer);
    }
    Ok(())
}

fn check_scores(scores: &Scores, layers: usize) -> Result<(), PlanError> {
    let lists = [
        ("scores.prefill_similarity", &scores.prefill_similarity),
        ("scores.decode_similarity", &scores.decode_similarity),
        ("scores.concentration", &scores.concentration),
    ];
    for (field, list) in lists {
        if !list.is_empty() && list.len() != layers {
            return Err(PlanError::Length { field: field.into(), found: list.len(), layers });
        }
        check_finite(field, list)?;
    }
    check_finite("scores.distill_threshold", scores.distill_threshold.as_slice())
}

/// Checks a search log. A seed's energy may be infinite (no set of it had a finite one), which the log writes as null.
fn check_log(field: &str, log: Option<&StageLog>, layers: usize) -> Result<(), PlanError> {
    let Some(log) = log else { return Ok(()) };
    check_finite(&format!("{field}.dense"), log.dense.as_slice())?;
    for run in &log.runs {
        check_list(&format!("{field}.runs"), run.removed.iter(), layers)?;
        check_finite(&format!("{field}.runs: start_temperature"), &[run.start_temperature])?;
        if run.energy.is_nan() || run.energy == f64::NEG_INFINITY {
            return Err(PlanError::NotFinite { field: format!("{field}.runs: energy") });
        }
    }
    Ok(())
}

fn check_finite(field: &str, values: &[f64]) -> Result<(), PlanError> {
    let finite = values.iter().all(|value| value.is_finite());
    if finite { Ok(()) } else { Err(PlanError::NotFinite { field: field.into() }) }
}
