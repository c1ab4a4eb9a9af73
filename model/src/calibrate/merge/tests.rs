//! The student computes what the kernels do, and training lowers the error.

use std::path::{Path, PathBuf};

use super::*;
use crate::calibrate::phase::{Phase, Roles};
use crate::calibrate::watch::Seen;
use crate::calibrate::{Prompts, Sample};
use crate::float::FloatType;
use crate::language::Segment;
use crate::model::{LoadOptions, Model};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(name)
}

fn load(folder: &Path) -> Model {
    let options = LoadOptions { dtype: Some(FloatType::F32), ..LoadOptions::default() };
    Model::load(folder, &options).unwrap()
}

/// Eight prompts of text with answers of several tokens.
fn samples(model: &Model) -> Vec<Sample> {
    let tokens = |first: u32, count: u32| (0..count).map(|at| (first + at * at * 5 + at) % 89).collect::<Vec<_>>();
    let sample = |at: u32| model.sample(&[Segment::Text(&tokens(at, 9 + 3 * at))], &tokens(3 * at, 6)).unwrap();
    (0..8).map(sample).collect()
}

/// Covers every family: grouped queries, biases, norms of heads, windows.
#[test]
fn the_student_is_the_kernels_block() {
    let families = ["llama2", "llama3", "mistral", "qwen2", "qwen3", "qwen2.5-vl"];
    let folders = families.map(|family| folder("families").join(family));
    for folder in folders.into_iter().chain([folder("tiny-llava")]) {
        let model = load(&folder);
        let mut calibrator = Calibrator::new(&model, samples(&model), 0).unwrap();
        for phase in [Phase::Prefill, Phase::Decode] {
            let off = student_is_off_by(&model, &mut calibrator, phase);
            assert!(off < 1e-4, "{}, {phase:?}: {off}", folder.display());
        }
    }
}

/// The largest difference between the student's output for block 1's input and the output of the pass.
fn student_is_off_by(model: &Model, calibrator: &mut Calibrator<'_>, phase: Phase) -> f32 {
    let all = Roles::all(calibrator.layers());
    let prompts = Prompts { roles: &all, repairs: &[] };
    let lessons = calibrator.lessons(2, Trimmed { phase, roles: &all, repairs: &[], prompts }).unwrap();
    let student = Student::new(model.language().block(1).unwrap(), calibrator.shape()).unwrap();
    let (mut fitted, mut held_out) = (lessons.fitted.iter(), lessons.held_out.iter());
    let mut off: f32 = 0.0;
    for sample in 0..calibrator.held.samples.len() {
        let rows = if calibrator.held.is_held_out(sample) { &mut held_out } else { &mut fitted }.next().unwrap();
        let found = student.forward(&[rows]).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        calibrator.watch(Phase::Prefill, sample..sample + 1, &all, &[], &mut |_, _| {}).unwrap();
        let look = &mut |_: &[std::ops::Range<usize>], seen: Seen<'_>| {
            if let Seen::Residual(2, x) = seen {
                assert_eq!(x.len(), found.len());
                off = x.iter().zip(&found).map(|(one, other)| (one - other).abs()).fold(off, f32::max);
            }
        };
        calibrator.watch(phase, sample..sample + 1, &all, &[], look).unwrap();
    }
    off
}

#[test]
fn what_makes_keys_and_values_stays() {
    let model = load(&folder("families/qwen3"));
    let block = model.language().block(1).unwrap();
    let mut calibrator = Calibrator::new(&model, samples(&model), 0).unwrap();
    let (all, removed) = (Roles::all(3), Roles::without(3, [2]));
    let prompts = Prompts { roles: &all, repairs: &[] };
    let trimmed = Trimmed { phase: Phase::Prefill, roles: &removed, repairs: &[], prompts };
    let distillation = Distillation { steps: 20, ..Distillation::default() };
    let merged = calibrator.merge(2, trimmed, &distillation).unwrap();
    for (before, after) in block.tensors().iter().zip(merged.tensors()) {
        let is_frozen = ["input_layernorm", "k_proj", "v_proj", "k_norm"].iter().any(|part| before.name.contains(part));
        assert_eq!(before == after, is_frozen, "{}", before.name);
        assert_eq!((&before.name, &before.shape), (&after.name, &after.shape));
    }
    assert_eq!(calibrator.merge(2, trimmed, &distillation).unwrap().tensors(), merged.tensors());
}
