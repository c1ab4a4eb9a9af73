//! Which layers send first and last tokens only.

use secateur_model::calibrate::{Calibrator, Sample};
use secateur_pruning::pdtrim::{BlockSet, KvRule, Plan};

use super::arguments::PlanArguments;
use crate::{up::report::progress, usage::usage};

/// What was chosen, and from what.
pub struct Selected {
    /// The rules, ascending.
    pub rules: Vec<KvRule>,
    /// `c_l` of every block; empty where nothing was asked for.
    pub concentration: Vec<f64>,
}

/// The layers whose attention rests most on first and last tokens, as many as the byte target takes. Bytes are those of
/// the calibration prompts, minimums and rounding included.
pub fn select(
    arguments: &PlanArguments,
    decode_removed: BlockSet,
    calibrator: &mut Calibrator<'_>,
) -> anyhow::Result<Selected> {
    let mut rules = Vec::new();
    if arguments.kv_ratio == 0.0 {
        return Ok(Selected { rules, concentration: Vec::new() });
    }
    progress("measuring how much attention rests on first and last tokens");
    let retention = rule(arguments, 0).retention().map_err(|error| usage(format!("--kv-keep, --kv-phi: {error}")))?;
    let ends = |positions: usize| {
        let ends = retention.ends(positions);
        (!ends.is_all()).then(|| (ends.first(), ends.last()))
    };
    let Some(concentration) = calibrator.concentration(&ends)? else {
        return Err(usage(format!(
            "every calibration prompt is short enough to be sent whole with --kv-first-min {} and --kv-last-min {}; \
             lower them, or give --kv-ratio 0",
            arguments.kv_first_min, arguments.kv_last_min
        )));
    };
    let layers = calibrator.layers();
    let mut kept: Vec<usize> = (0..layers).filter(|&layer| !decode_removed.contains(layer)).collect();
    kept.sort_by(|&one, &other| concentration[other].total_cmp(&concentration[one]));
    let lengths: Vec<usize> = calibrator.samples().iter().map(Sample::prompt_rows).collect();
    let total: usize = lengths.iter().sum::<usize>() * layers;
    let whole: usize = lengths.iter().sum();
    let short: usize = lengths.iter().map(|&length| retention.ends(length).count()).sum();
    let reached = |selected: usize| total as f64 / ((kept.len() - selected) * whole + selected * short) as f64;
    let Some(selected) = (0..=kept.len()).find(|&selected| reached(selected) >= arguments.kv_ratio) else {
        return Err(usage(format!(
            "--kv-ratio {}: with --kv-keep {} and these minimums even {} layers reach only {:.2} on the calibration prompts",
            arguments.kv_ratio,
            arguments.kv_keep,
            kept.len(),
            reached(kept.len())
        )));
    };
    let mut chosen = kept[..selected].to_vec();
    chosen.sort_unstable();
    rules.extend(chosen.into_iter().map(|layer| rule(arguments, layer)));
    Ok(Selected { rules, concentration })
}

fn rule(arguments: &PlanArguments, layer: usize) -> KvRule {
    KvRule {
        layer,
        keep: arguments.kv_keep,
        phi: arguments.kv_phi,
        first_min: arguments.kv_first_min,
        last_min: arguments.kv_last_min,
    }
}

/// Times fewer KV rows than all blocks and tokens, over prompts of these lengths, under the transfer policy pdtrim.
pub fn ratio(plan: &Plan, lengths: &[usize]) -> f64 {
    let whole: f64 = lengths.iter().map(|&length| length as f64).sum();
    let sent: f64 = lengths.iter().map(|&length| plan.bytes_fraction(length) * length as f64).sum();
    if sent > 0.0 { whole / sent } else { 1.0 }
}
