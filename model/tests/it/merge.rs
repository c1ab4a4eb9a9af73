//! Merged blocks: a node loads what calibration trained, and the result is better than no repair.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use secateur_model::calibrate::{
    BlockRepair, Calibrator, Distillation, MergedRepair, Phase, Prompts, Repairs, Roles, Sample,
};
use secateur_model::{BlockRole, FloatType, LoadOptions, Model, RepairFile, Segment, Stage};

fn family(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/families").join(name)
}

fn load(name: &str, stage: Stage) -> Model {
    let options = LoadOptions { dtype: Some(FloatType::F32), stage, ..LoadOptions::default() };
    Model::load(&family(name), &options).unwrap()
}

/// The samples use few distinct tokens, so that training on one sample helps on another.
fn samples(model: &Model) -> Vec<Sample> {
    let tokens = |first: u32, count: u32| (0..count).map(|at| (first + at * at * 5 + at) % 13).collect::<Vec<_>>();
    let sample = |at: u32| model.sample(&[Segment::Text(&tokens(at, 9 + 3 * (at % 8)))], &tokens(3 * at, 6)).unwrap();
    (0..48).map(sample).collect()
}

fn distillation() -> Distillation {
    Distillation { steps: 150, rows: 128, rate: Some(2e-3), ..Distillation::default() }
}

fn merged(repairs: &[BlockRepair]) -> &MergedRepair {
    match repairs {
        [BlockRepair::Merged(repair)] => repair,
        other => panic!("expected one merged block, got {other:?}"),
    }
}

/// Repairs that merge block 2 into block 1, in both phases.
fn merge(calibrator: &mut Calibrator<'_>) -> [Vec<BlockRepair>; 2] {
    let pruned = Roles::without(calibrator.layers(), [2]);
    let none = Prompts { roles: &pruned, repairs: &[] };
    let prefill = calibrator.merged_repairs(Phase::Prefill, &[2], &[2], none, &distillation()).unwrap();
    let prompts = Prompts { roles: &pruned, repairs: &prefill };
    let decode = calibrator.merged_repairs(Phase::Decode, &[2], &[2], prompts, &distillation()).unwrap();
    [prefill, decode]
}

#[test]
fn training_lowers_the_error_on_samples_it_did_not_see() {
    for name in ["llama3", "qwen3"] {
        let model = load(name, Stage::default());
        let mut calibrator = Calibrator::new(&model, samples(&model), 0).unwrap();
        for repairs in merge(&mut calibrator) {
            let repair = merged(&repairs);
            assert_eq!((repair.layer(), repair.with()), (2, 1));
            assert!(repair.error() < 0.9, "{name}: {}", repair.error());
        }
    }
}

#[test]
fn a_node_loads_what_calibration_measured() {
    for name in ["mistral", "qwen2", "qwen3"] {
        let model = load(name, Stage::default());
        let mut calibrator = Calibrator::new(&model, samples(&model), 0).unwrap();
        let [prefill, _] = merge(&mut calibrator);
        let pruned = Roles::without(calibrator.layers(), [2]);
        let repairs = Repairs { prefill: &prefill, decode: &prefill };
        let measured = calibrator.loss_with(&pruned, &pruned, repairs).unwrap().all;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plan.safetensors");
        save(merged(&prefill), &file);
        let roles = [(1, BlockRole::Merged { prefix: "prefill.2.merged".into() }), (2, BlockRole::Skip)];
        let node = load(name, Stage::new(roles, Some(RepairFile::open(&file).unwrap())));
        assert!(node.kv_layers().starts_with(&[0, 1]) && !node.kv_layers().contains(&2));
        let whole = Roles::all(calibrator.layers());
        let served = Calibrator::new(&node, samples(&node), 0).unwrap().loss(&whole, &whole).unwrap();
        assert_eq!(served, measured, "{name}");
        let unrepaired = calibrator.loss(&pruned, &pruned).unwrap();
        assert!((unrepaired - measured).abs() > 1e-6, "{name}: {unrepaired} {measured}");
    }
}

fn save(repair: &MergedRepair, file: &Path) {
    let tensor = |data: &[f32], shape: &[usize]| Tensor::from_slice(data, shape, &Device::Cpu).unwrap();
    let tensors: HashMap<String, Tensor> = repair
        .tensors()
        .iter()
        .map(|part| (format!("prefill.2.merged.{}", part.name), tensor(&part.data, &part.shape)))
        .collect();
    candle_core::safetensors::save(&tensors, file).unwrap();
}

#[test]
fn pairs_that_cannot_be_are_refused() {
    let model = load("llama2", Stage::default());
    let mut calibrator = Calibrator::new(&model, samples(&model), 0).unwrap();
    let roles = Roles::all(calibrator.layers());
    let prompts = Prompts { roles: &roles, repairs: &[] };
    // Merged into the first block; into a removed block; a block that is not removed; a block that does not exist.
    for (removed, merged) in [(&[1][..], &[1][..]), (&[1, 2], &[2]), (&[1], &[2]), (&[3], &[3])] {
        let refused = calibrator.merged_repairs(Phase::Prefill, removed, merged, prompts, &distillation());
        assert!(refused.is_err(), "{removed:?} {merged:?}");
    }
    let standing = Distillation { rate: Some(0.0), ..distillation() };
    assert!(calibrator.merged_repairs(Phase::Prefill, &[2], &[2], prompts, &standing).is_err());
}
