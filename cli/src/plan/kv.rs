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

/// \[P\] What the paper reaches.
const PUBLISHED_RATIO: f64 = 4.95;

/// How many layers have to be selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(usize);

/// As many as reach what is asked for, of the `kept` layers that decode runs. Bytes are those of the calibration prompts,
/// minimums and rounding included. It does not depend on which layers they are, so it is known before any search.
pub fn count(arguments: &PlanArguments, kept: usize, calibrator: &Calibrator<'_>) -> anyhow::Result<Count> {
    let retention = rule(arguments, 0)
        .retention()
        .map_err(|error| usage(format!("--kv-keep, --kv-phi, --kv-first-min, --kv-last-min: {error}")))?;
    let lengths = || calibrator.samples().iter().map(Sample::prompt_rows);
    let whole: usize = lengths().sum();
    let short: usize = lengths().map(|length| retention.ends(length).count()).sum();
    let total = (whole * calibrator.layers()) as f64;
    let reached = |selected: usize| total / ((kept - selected) * whole + selected * short).max(1) as f64;
    let wanted = arguments.kv_ratio.unwrap_or(PUBLISHED_RATIO);
    if wanted == 0.0 {
        return Ok(Count(0));
    }
    if let Some(selected) = (0..=kept).find(|&selected| reached(selected) >= wanted) {
        return Ok(Count(selected));
    }
    let text = format!(
        "with --kv-keep {}, --kv-first-min {} and --kv-last-min {} even {kept} layers send only {:.2} times fewer bytes of \
         the calibration prompts, not {wanted}",
        arguments.kv_keep,
        arguments.kv_first_min,
        arguments.kv_last_min,
        reached(kept)
    );
    match arguments.kv_ratio {
        Some(_) => Err(usage(format!("--kv-ratio: {text}"))),
        None => {
            progress(&format!("no layer will send first and last tokens alone: {text}"));
            Ok(Count(0))
        }
    }
}

/// The layers whose attention rests most on first and last tokens.
pub fn select(
    arguments: &PlanArguments,
    Count(selected): Count,
    decode_removed: BlockSet,
    calibrator: &mut Calibrator<'_>,
) -> anyhow::Result<Selected> {
    if selected == 0 {
        return Ok(Selected { rules: Vec::new(), concentration: Vec::new() });
    }
    progress("measuring how much attention rests on first and last tokens");
    let retention = rule(arguments, 0).retention()?;
    let ends = |positions: usize| {
        let ends = retention.ends(positions);
        (!ends.is_all()).then(|| (ends.first(), ends.last()))
    };
    // There are prompts that are not sent whole, or no count above 0 would have been reached.
    let concentration = calibrator.concentration(&ends)?.unwrap_or_else(|| vec![0.0; calibrator.layers()]);
    let mut chosen: Vec<usize> = (0..calibrator.layers()).filter(|&layer| !decode_removed.contains(layer)).collect();
    chosen.sort_by(|&one, &other| concentration[other].total_cmp(&concentration[one]));
    chosen.truncate(selected);
    chosen.sort_unstable();
    Ok(Selected { rules: chosen.into_iter().map(|layer| rule(arguments, layer)).collect(), concentration })
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
