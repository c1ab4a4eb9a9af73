//! Selection of the layers that send first and last tokens only.

use secateur_model::calibrate::{Calibrator, Sample};
use secateur_pruning::pdtrim::{BlockSet, KvRule, Plan, bytes_fraction, concentration};

use super::arguments::PlanArguments;
use crate::{console::progress, usage::usage};

/// The selection, and the scores that it was made from.
pub struct Selected {
    /// KV rules of the selected layers, ascending.
    pub rules: Vec<KvRule>,
    /// Share of each block's attention that rests on first and last tokens; empty if no selection was requested.
    pub concentration: Vec<f64>,
}

/// The reduction that PDTrim's paper reaches (arXiv 2509.04467).
const PUBLISHED_RATIO: f64 = 4.95;

/// Criterion by which layers are selected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Choice {
    /// No layer is selected.
    None,
    /// The fewest layers that bring the share of bytes down to `target`, those with the most attention on first and
    /// last tokens first; a selected layer sends the share `keep` of the calibration prompts' tokens.
    Bytes { keep: f64, target: f64 },
    /// All layers with at least this share of attention on first and last tokens.
    Threshold(f64),
}

/// The criterion that reaches the requested reduction, of the `kept` layers that decode runs. Bytes are those of the
/// calibration prompts, minimums and rounding included. The number of layers does not depend on which ones they are, so
/// it is known before any search.
pub fn choice(arguments: &PlanArguments, kept: usize, calibrator: &Calibrator<'_>) -> anyhow::Result<Choice> {
    // What a layer keeps is the same whichever layer it is.
    let retention = rule(arguments, 0)
        .retention()
        .map_err(|error| usage(format!("--kv-keep, --kv-phi, --kv-first-min, --kv-last-min: {error}")))?;
    if let Some(theta) = arguments.kv_threshold {
        return Ok(Choice::Threshold(theta));
    }
    let wanted = arguments.kv_ratio.unwrap_or(PUBLISHED_RATIO);
    if wanted == 0.0 {
        return Ok(Choice::None);
    }
    let lengths = || calibrator.samples().iter().map(Sample::prompt_rows);
    let at_ends: usize = lengths().map(|length| retention.ends(length).count()).sum();
    let keep = at_ends as f64 / lengths().sum::<usize>().max(1) as f64;
    // The share of bytes that is left where every layer sends first and last tokens only.
    let least = bytes_fraction(calibrator.layers(), kept, kept, keep);
    if least <= 1.0 / wanted {
        return Ok(Choice::Bytes { keep, target: 1.0 / wanted });
    }
    let text = format!(
        "with --kv-keep {}, --kv-first-min {} and --kv-last-min {} even {kept} layers send only {:.2} times fewer bytes of \
         the calibration prompts, not {wanted}",
        arguments.kv_keep,
        arguments.kv_first_min,
        arguments.kv_last_min,
        1.0 / least
    );
    match arguments.kv_ratio {
        Some(_) => Err(usage(format!("--kv-ratio: {text}"))),
        None => {
            progress(&format!("no layer will send first and last tokens alone: {text}"));
            Ok(Choice::None)
        }
    }
}

/// Selects the layers with the most attention on first and last tokens.
pub fn select(
    arguments: &PlanArguments,
    choice: Choice,
    decode_removed: BlockSet,
    calibrator: &mut Calibrator<'_>,
) -> anyhow::Result<Selected> {
    if choice == Choice::None {
        return Ok(Selected { rules: Vec::new(), concentration: Vec::new() });
    }
    progress("measuring how much attention rests on first and last tokens");
    let retention = rule(arguments, 0).retention()?;
    let ends = |positions: usize| {
        let ends = retention.ends(positions);
        (!ends.is_all()).then(|| (ends.first(), ends.last()))
    };
    // If every prompt is short enough to be sent whole, there is no concentration to measure.
    let concentration = calibrator.concentration(&ends)?.unwrap_or_else(|| vec![0.0; calibrator.layers()]);
    let kept = BlockSet::all(calibrator.layers())?.difference(decode_removed);
    let chosen = match choice {
        Choice::None => BlockSet::EMPTY,
        Choice::Threshold(theta) => concentration::by_threshold(&concentration, kept, theta),
        Choice::Bytes { keep, target } => concentration::by_bytes(&concentration, kept, keep, target)?,
    };
    Ok(Selected { rules: chosen.iter().map(|layer| rule(arguments, layer)).collect(), concentration })
}

/// The rule by which `layer` sends first and last tokens only.
fn rule(arguments: &PlanArguments, layer: usize) -> KvRule {
    KvRule {
        layer,
        keep: arguments.kv_keep,
        phi: arguments.kv_phi,
        first_min: arguments.kv_first_min,
        last_min: arguments.kv_last_min,
    }
}

/// Reduction of KV rows relative to all blocks and tokens, over prompts of these lengths, under the transfer policy
/// pdtrim.
pub fn ratio(plan: &Plan, lengths: &[usize]) -> f64 {
    let whole: f64 = lengths.iter().map(|&length| length as f64).sum();
    let sent: f64 = lengths.iter().map(|&length| plan.bytes_fraction(length) * length as f64).sum();
    if sent > 0.0 { whole / sent } else { 1.0 }
}
