//! Progress, and the printed result.
#![allow(clippy::print_stdout, reason = "printing is what this file is for")]

use std::time::Duration;

use secateur_model::calibrate::BlockRepair;
use secateur_pruning::pdtrim::{
    Plan, StageKind,
    search::{self, StageLog},
};
use serde_json::{Value, json};

use super::{arguments::PlanArguments, repairs::Repaired, tried::Tried};
use crate::progress;

/// A plan, and the results that it was made from.
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// Replacements for removed blocks.
    pub repairs: Repaired,
    /// Reduction of KV rows under pdtrim, on the calibration prompts.
    pub bytes_ratio: f64,
    /// Share of block passes that restarting at the first changed block saved.
    pub share_saved: f64,
}

/// Progress of the searches: one bar for each stage and seed.
#[derive(Default)]
pub struct Progress {
    shown: Option<(String, progress::Progress)>,
}

impl Progress {
    /// Shows one more step.
    pub fn show(&mut self, step: &search::Progress<'_>) {
        let label = format!("{} seed {}: {:?}", step.stage, step.seed, step.phase);
        // The previous bar is removed first, so that the two are never on one line.
        if self.shown.as_ref().is_some_and(|(shown, _)| *shown != label) {
            self.shown = None;
        }
        let (_, bar) = self.shown.get_or_insert_with(|| {
            let bar = progress::Progress::of(label.clone(), step.steps as u64);
            (label, bar)
        });
        bar.set(step.step as u64, &format!("{} sets measured, best loss {:.4}", step.evaluations, step.best));
    }

    /// Removes the bar when the search is over.
    pub fn end(&mut self) {
        self.shown = None;
    }
}

/// Prints the result.
pub fn print(arguments: &PlanArguments, planned: &Planned, took: Duration) -> anyhow::Result<()> {
    let document = planned.plan.document();
    let removed = |kind| planned.plan.removed(kind).iter().collect::<Vec<_>>();
    let (prefill, decode) = (removed(StageKind::Prefill), removed(StageKind::Decode));
    let layers: Vec<usize> = document.kv.iter().map(|rule| rule.layer).collect();
    let loss = planned.repairs.loss;
    let folder = arguments.out.display().to_string();
    if arguments.json {
        let body = json!({
            "plan": folder,
            "rule": document.rule,
            "prefill_removed": prefill,
            "decode_removed": decode,
            "kv_layers": layers,
            "nll": {"dense": loss.dense, "pruned": loss.pruned, "repaired": loss.repaired},
            "repairs": planned.repairs.named().map(repair).collect::<Vec<_>>(),
            "repairs_tried": planned.repairs.tried.iter().map(tried).collect::<Vec<_>>(),
            "search": {
                "prefill": document.search.prefill.as_ref().map(log),
                "decode": document.search.decode.as_ref().map(log),
                "passes_saved": planned.share_saved,
            },
            "bytes_ratio": planned.bytes_ratio,
            "seconds": took.as_secs_f64(),
        });
        println!("{}", serde_json::to_string_pretty(&body)?);
        return Ok(());
    }
    println!("plan            {folder} ({:?}, {} calibration cases)", document.rule, document.calibration.samples);
    println!("prefill without {prefill:?}");
    println!("decode without  {decode:?}");
    println!(
        "loss            {:.4} dense, {:.4} pruned, {:.4} repaired (nats per answer token)",
        loss.dense, loss.pruned, loss.repaired
    );
    for (_, name, repair) in planned.repairs.named() {
        println!("repair          {name}: leaves {:.0}% of the squared error", repair.error() * 100.0);
    }
    for tried in &planned.repairs.tried {
        println!("tried           {tried}");
    }
    for (stage, log) in [("prefill", &document.search.prefill), ("decode", &document.search.decode)] {
        if let Some((low, high)) = log.as_ref().and_then(StageLog::spread) {
            println!("search          {stage}: loss {low:.4} to {high:.4} over the seeds");
        }
        if let Some(log) = log {
            println!(
                "measured        {stage}: {} sets, each on {:.0}% of the samples",
                log.evaluations,
                log.measured * 100.0
            );
        }
    }
    println!(
        "pdtrim          first and last tokens alone in {} of {} blocks: {layers:?}",
        layers.len(),
        document.layers
    );
    println!("bytes           {:.2} times fewer on the calibration prompts", planned.bytes_ratio);
    println!(
        "time            {:.1} s; {:.0}% of block passes saved by restarting",
        took.as_secs_f64(),
        planned.share_saved * 100.0
    );
    println!("next            secateur up --plan {folder}; secateur eval --plan {folder}");
    Ok(())
}

fn repair((kind, name, repair): (StageKind, String, &BlockRepair)) -> Value {
    let (how, with) = match repair {
        BlockRepair::Linear(_) => ("linear", None),
        BlockRepair::Merged(merged) => ("merged", Some(merged.with())),
    };
    json!({"stage": kind, "layer": repair.layer(), "how": how, "with": with, "tensors": name, "error": repair.error()})
}

fn tried(tried: &Tried) -> Value {
    json!({
        "prefill": tried.prefill.name(),
        "decode": tried.decode.name(),
        "nll": tried.loss.all,
        "nll_held_out": tried.loss.held_out,
        "fitted_in_seconds": tried.took.as_secs_f64(),
    })
}

fn log(log: &StageLog) -> Value {
    json!({
        "evaluations": log.evaluations,
        "measured": log.measured,
        "spread": log.spread().map(|(low, high)| json!({"low": low, "high": high})),
        "seeds": log.runs.iter().map(|run| json!({"seed": run.seed, "removed": run.removed, "nll": run.energy})).collect::<Vec<_>>(),
    })
}
