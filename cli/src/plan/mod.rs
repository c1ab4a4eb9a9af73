//! `secateur plan`: computes a PDTrim plan for a checkpoint, from calibration cases.
//!
//! ```text
//! arguments.rs   the command line
//! samples.rs     cases as the cluster would see them, with their answers
//! stages.rs      the two searches: the blocks that prefill leaves out, then those of decode
//! repairs.rs     replacements for removed blocks, under the names in plan and tensors
//! trials.rs      the repairs that are fitted, and those that are kept
//! tried.rs       a combination of repairs that was measured
//! kv.rs          the layers that send first and last tokens only
//! folder.rs      plan.json and plan.safetensors
//! report.rs      progress, and the printed result
//! ```

mod arguments;
mod folder;
mod kv;
mod repairs;
mod report;
mod samples;
mod stages;
mod trials;
mod tried;

use std::{path::Path, process::ExitCode, time::Instant};

use anyhow::{Context, bail};
use secateur_common::telemetry::{self, LogFormat};
use secateur_model::{
    FloatType, LoadOptions, Model,
    calibrate::{Calibrator, Phase, Roles, Sample},
};
use secateur_node::advice::recommended_visual;
use secateur_pruning::{
    VisualPolicy,
    pdtrim::{
        BlockSet, Calibration, Plan, PlanDocument, Scores, SearchLog, StageKind, document::FORMAT, search::Schedule,
    },
};
use secateur_router::served::{self, ServedModel};

use self::{
    report::{Planned, Progress},
    samples::{LaidOut, Pruning},
    stages::Searches,
};
use crate::{
    console::progress,
    doctor::before_start,
    suite::{
        self, Case,
        expected::Match,
        split::{Split, choose},
    },
    usage::{self, usage},
};
use arguments::Answers;
pub use arguments::PlanArguments;

/// Runs the command.
pub fn run(arguments: PlanArguments) -> ExitCode {
    telemetry::init(&arguments.log, LogFormat::Text);
    usage::finish(plan(&arguments))
}

fn plan(arguments: &PlanArguments) -> anyhow::Result<()> {
    let started = Instant::now();
    let dir = before_start::checkpoint_unless_given(arguments.model.as_deref())?;
    let cases = cases(arguments, &dir)?;
    std::fs::create_dir_all(&arguments.out)
        .map_err(|error| usage(format!("--out {}: {error}", arguments.out.display())))?;
    let served = served::load(&dir, None)?;
    let model = load(arguments, &dir)?;
    progress(&format!("laying out {} calibration cases", cases.len()));
    let pruning = pruning(arguments, &dir)?;
    let (cases, samples) = samples(arguments, pruning, cases, &served, &model)?;
    let calibration = Calibration {
        name: arguments.calibration.as_ref().map_or_else(
            || "the checkpoint's own suite, every fourth case".to_owned(),
            |file| file.file_name().map_or_else(|| "cases".to_owned(), |name| name.to_string_lossy().into_owned()),
        ),
        digest: digest(&cases, &samples, pruning)?,
        samples: samples.len(),
        seed: arguments.seed,
    };
    let cache = usize::try_from(arguments.cache_memory.as_u64()).unwrap_or(usize::MAX);
    let mut calibrator = Calibrator::new(&model, samples, cache)?;
    let planned = compute(arguments, &mut calibrator, calibration)?;
    folder::write(&arguments.out, &planned.plan, &planned.repairs)?;
    report::print(arguments, &planned, started.elapsed())
}

fn cases(arguments: &PlanArguments, dir: &Path) -> anyhow::Result<Vec<Case>> {
    let limit = Some(arguments.samples);
    let cases = match &arguments.calibration {
        Some(file) => suite::read(file, Match::Exact)?,
        None => {
            let file = suite::file::find(dir, arguments.model.is_none(), "--calibration")?;
            choose(suite::read(&file, Match::Exact)?, Split::Calibration, None)
        }
    };
    let cases = match arguments.answers {
        Answers::Suite => with_answers(cases),
        Answers::Own => cases,
    };
    Ok(mixed(choose(cases, Split::All, limit)))
}

/// Reorders the cases independently of their content, the same way in each run: searches evaluate the first samples
/// first, and suites are ordered by tag.
fn mixed(mut cases: Vec<Case>) -> Vec<Case> {
    cases.sort_by_cached_key(|case| *blake3::hash(case.id.as_bytes()).as_bytes());
    cases
}

/// The cases with answers that a model could have said: text, not a pattern.
fn with_answers(cases: Vec<Case>) -> Vec<Case> {
    let is_text = |case: &Case| case.answer.as_ref().is_some_and(|answer| answer.name() != "regex");
    cases.into_iter().filter(is_text).collect()
}

fn load(arguments: &PlanArguments, dir: &Path) -> anyhow::Result<Model> {
    let dtype = FloatType::from_name(&arguments.dtype)
        .ok_or_else(|| usage(format!("--dtype {} is none of f32, bf16, f16", arguments.dtype)))?;
    let threads = arguments.threads.map(|threads| threads as usize);
    let options = LoadOptions { vision: true, dtype: Some(dtype), threads, ..LoadOptions::default() };
    Model::load(dir, &options).with_context(|| format!("cannot load the checkpoint in {}", dir.display()))
}

/// The cases whose prompts are short enough, and their samples.
fn samples(
    arguments: &PlanArguments,
    pruning: Pruning,
    cases: Vec<Case>,
    served: &ServedModel,
    model: &Model,
) -> anyhow::Result<(Vec<Case>, Vec<Sample>)> {
    let limit = arguments.prompt_tokens as usize;
    let (mut short, mut laid): (Vec<Case>, Vec<LaidOut>) = (Vec::new(), Vec::new());
    let asked = cases.len();
    for case in cases {
        let prompt = samples::lay_out(&case, served, model, pruning).with_context(|| format!("case {}", case.id))?;
        if prompt.rows() <= limit {
            short.push(case);
            laid.push(prompt);
        }
    }
    match (asked - short.len(), short.len()) {
        (0, _) => {}
        (_, 0) => return Err(usage(format!("--prompt-tokens {limit}: no calibration case has so short a prompt"))),
        (long, _) => progress(&format!("left out {long} cases with prompts of more than {limit} tokens")),
    }
    let samples = match arguments.answers {
        Answers::Suite => likelier_spelling(&laid, served, model)?,
        Answers::Own => {
            progress("asking the whole model for its own answers");
            samples::with_own_answers(&laid, served, model, arguments.answer_tokens as usize)?
        }
    };
    Ok((short, samples))
}

/// The samples with the spelling of the answers, with or without a leading space, that the model finds likelier.
fn likelier_spelling(laid: &[LaidOut], served: &ServedModel, model: &Model) -> anyhow::Result<Vec<Sample>> {
    let mut best: Option<(f64, Vec<Sample>)> = None;
    for lead in ["", " "] {
        let samples = laid.iter().map(|laid| laid.sample(served, model, lead)).collect::<anyhow::Result<Vec<_>>>()?;
        let whole = Roles::all(model.info().layers);
        let loss = Calibrator::new(model, samples.clone(), 0)?.loss(&whole, &whole)?;
        if best.as_ref().is_none_or(|(lowest, _)| loss < *lowest) {
            best = Some((loss, samples));
        }
    }
    match best {
        Some((loss, samples)) if loss.is_finite() => Ok(samples),
        _ => bail!("the model's loss on the calibration cases is not finite"),
    }
}

fn pruning(arguments: &PlanArguments, dir: &Path) -> anyhow::Result<Pruning> {
    let given = arguments.visual.as_ref().map(|visual| -> anyhow::Result<VisualPolicy> {
        let method = visual.method.parse().map_err(|error| usage(format!("--visual: {error}")))?;
        Ok(VisualPolicy::new(method, visual.keep.unwrap_or(VisualPolicy::PUBLISHED_KEEP))?)
    });
    if let Some(policy) = given.transpose()? {
        return Ok(Pruning { one: policy, several: policy });
    }
    let (one, several) = recommended_visual(dir)?;
    Ok(Pruning { one, several })
}

/// Digest of everything that the samples depend on.
fn digest(cases: &[Case], samples: &[Sample], pruning: Pruning) -> anyhow::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{pruning:?}").as_bytes());
    for (case, sample) in cases.iter().zip(samples) {
        for message in case.messages()? {
            hasher.update(message.to_string().as_bytes());
        }
        hasher.update(&(sample.prompt_rows() as u64).to_le_bytes());
        sample.answer().iter().for_each(|token| {
            hasher.update(&token.to_le_bytes());
        });
    }
    Ok(hasher.finalize().to_hex()[..32].to_owned())
}

fn compute(
    arguments: &PlanArguments,
    calibrator: &mut Calibrator<'_>,
    calibration: Calibration,
) -> anyhow::Result<Planned> {
    let layers = calibrator.layers();
    let ends_alone = kv::choice(arguments, layers.saturating_sub(arguments.decode_remove), calibrator)?;
    progress("measuring how alike blocks' inputs and outputs are");
    let prefill_similarity = calibrator.redundancy(Phase::Prefill)?.unwrap_or_default();
    // Decode computes no row for answers of one token.
    let decode_similarity = calibrator.redundancy(Phase::Decode)?.unwrap_or_else(|| prefill_similarity.clone());
    let fingerprint = calibrator.fingerprint().to_owned();
    let searches = Searches {
        rule: arguments.rule(),
        schedule: Schedule {
            steps: arguments.steps as usize,
            seeds: (0..u64::from(arguments.seeds)).map(|run| arguments.seed.wrapping_add(run)).collect(),
            ..Schedule::seeded(arguments.seed)
        },
        context: format!(
            "{fingerprint} {} {} in {} parts",
            arguments.dtype,
            calibration.digest,
            calibrator.parts().len()
        ),
        folder: &arguments.out,
    };
    let mut shown = Progress::default();
    let mut search = |stage, size, before, similarity: &[f64], calibrator: &mut Calibrator<'_>| {
        let found = searches.run(stage, size, before, similarity, calibrator, |step| shown.show(step))?;
        shown.end();
        anyhow::Ok(found)
    };
    let prefill =
        search(StageKind::Prefill, arguments.prefill_remove, BlockSet::EMPTY, &prefill_similarity, calibrator)?;
    let decode = search(StageKind::Decode, arguments.decode_remove, prefill.removed, &decode_similarity, calibrator)?;
    let sets = trials::Sets { rule: searches.rule, prefill: prefill.removed, decode: decode.removed };
    let repaired = trials::fit(arguments.repair, sets, &arguments.distillation(), calibrator)?;
    let selected = kv::select(arguments, ends_alone, decode.removed, calibrator)?;
    let document = PlanDocument {
        format: FORMAT,
        model_fingerprint: fingerprint,
        layers,
        calibration,
        rule: searches.rule,
        prefill: repaired.stage(StageKind::Prefill, prefill.removed),
        decode: repaired.stage(StageKind::Decode, decode.removed),
        kv: selected.rules,
        tiers: arguments.tiers,
        scores: Scores {
            prefill_similarity,
            decode_similarity,
            distill_threshold: Some(secateur_pruning::pdtrim::redundancy::DISTILL_THRESHOLD),
            concentration: selected.concentration,
        },
        search: SearchLog { prefill: prefill.log, decode: decode.log },
    };
    let lengths: Vec<usize> = calibrator.samples().iter().map(Sample::prompt_rows).collect();
    let plan = Plan::new(document).context("the plan does not hold together")?;
    Ok(Planned {
        bytes_ratio: kv::ratio(&plan, &lengths),
        plan,
        repairs: repaired,
        share_saved: calibrator.share_saved(),
    })
}
