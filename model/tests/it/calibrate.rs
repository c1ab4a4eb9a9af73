//! Calibration measures what stages do: a set of blocks has the same loss whether it is tried or loaded.

use secateur_model::{
    BlockRole, LoadOptions, Model, RepairFile, Segment, Stage,
    calibrate::{BlockRepair, Calibrator, Phase, Prompts, Repairs, Roles, Sample},
};

use crate::common::{folder, load, prefill, receive, step};

const LAYERS: usize = 3;
const PROMPTS: [&[u32]; 4] =
    [&[1, 17, 40, 33, 8, 71, 52], &[5, 9], &[60, 2, 31, 44, 7, 7, 19, 23, 80, 11], &[3, 50, 6]];
const ANSWERS: [&[u32]; 4] = [&[9, 60, 12], &[4], &[33, 8, 1, 70], &[21, 45]];

fn staged(roles: impl IntoIterator<Item = (usize, BlockRole)>) -> Model {
    let stage = Stage::new(roles, None);
    Model::load(&folder(), &LoadOptions { stage, ..LoadOptions::default() }).unwrap()
}

fn samples(model: &Model) -> Vec<Sample> {
    let sample = |(prompt, answer): (&&[u32], &&[u32])| model.sample(&[Segment::Text(prompt)], answer).unwrap();
    PROMPTS.iter().zip(&ANSWERS).map(sample).collect()
}

fn loss_of(logits: &[f32], target: u32) -> f64 {
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
    sum.ln() - f64::from(logits[target as usize])
}

/// Mean loss of the answers' tokens as two nodes compute it: one model for prompts, another for answers.
fn loss_served(prompts: &Model, answers: &Model) -> f64 {
    let (mut sum, mut count) = (0.0, 0);
    for (prompt, answer) in PROMPTS.iter().zip(&ANSWERS) {
        let (first, shipped) = prefill(prompts, &[Segment::Text(prompt)]);
        let kept: Vec<_> = shipped.into_iter().filter(|kv| answers.kv_layers().contains(&kv.layer)).collect();
        let mut sequence = receive(answers, &kept, answer.len());
        sum += loss_of(&first, answer[0]);
        for pair in answer.windows(2) {
            sum += loss_of(&step(answers, &mut sequence, pair[0]), pair[1]);
        }
        count += answer.len();
    }
    sum / f64::from(count as u32)
}

fn skipping(blocks: &[usize]) -> Model {
    staged(blocks.iter().map(|&layer| (layer, BlockRole::Skip)))
}

#[test]
fn what_is_tried_costs_what_it_costs_when_served() {
    let model = load();
    let mut calibrator = Calibrator::new(&model, samples(&model), 1 << 20).unwrap();
    let key_values = || BlockRole::KeysAndValues { tensor: None };
    let cases: [(Roles, Roles, Model, Model); 4] = [
        (Roles::all(LAYERS), Roles::all(LAYERS), skipping(&[]), skipping(&[])),
        (Roles::without(LAYERS, [1]), Roles::without(LAYERS, [1]), skipping(&[1]), skipping(&[1])),
        (Roles::all(LAYERS), Roles::without(LAYERS, [1, 2]), skipping(&[]), skipping(&[1, 2])),
        (Roles::all(LAYERS).with([1], key_values()), Roles::all(LAYERS), staged([(1, key_values())]), skipping(&[])),
    ];
    for (index, (prefill, decode, prompts, answers)) in cases.iter().enumerate() {
        let (tried, served) = (calibrator.loss(prefill, decode).unwrap(), loss_served(prompts, answers));
        assert!((tried - served).abs() < 1e-5, "case {index}: {tried} {served}");
    }
}

#[test]
fn restarting_at_the_first_changed_block_changes_nothing() {
    let model = load();
    let sets: [&[usize]; 9] = [&[2], &[], &[2], &[1, 2], &[1], &[0], &[0, 2], &[], &[2]];
    for cache in [0, 1 << 12, 1 << 24] {
        let mut kept = Calibrator::new(&model, samples(&model), cache).unwrap();
        for pair in sets.windows(2) {
            let roles = |set: &[usize]| Roles::without(LAYERS, set.iter().copied());
            let (prefill, decode) = (roles(pair[0]), roles(&[pair[0], pair[1]].concat()));
            let mut fresh = Calibrator::new(&model, samples(&model), 0).unwrap();
            assert_eq!(
                kept.loss(&prefill, &decode).unwrap(),
                fresh.loss(&prefill, &decode).unwrap(),
                "{pair:?} with {cache} bytes"
            );
        }
        assert_eq!(kept.share_saved() > 0.0, cache > 1 << 20, "{cache}: {}", kept.share_saved());
    }
}

#[test]
fn a_prompt_of_one_token_runs_whole_where_blocks_leave_keys_and_values() {
    let (whole, narrow) = (load(), staged([(1, BlockRole::KeysAndValues { tensor: None })]));
    assert_eq!(narrow.kv_layers(), [0, 1, 2]);
    assert_eq!(prefill(&narrow, &[Segment::Text(&[7])]).0, prefill(&whole, &[Segment::Text(&[7])]).0);
    let (_, of_whole) = prefill(&whole, &[Segment::Text(PROMPTS[0])]);
    let (_, of_narrow) = prefill(&narrow, &[Segment::Text(PROMPTS[0])]);
    // The block's own keys come from its own input, which is unchanged; the later blocks' keys differ.
    assert_eq!(of_narrow[1].k, of_whole[1].k);
    assert_ne!(of_narrow[2].k, of_whole[2].k);
}

#[test]
fn a_map_comes_nearer_than_nothing() {
    let model = load();
    let mut calibrator = Calibrator::new(&model, samples(&model), 1 << 20).unwrap();
    let roles = Roles::without(LAYERS, [1]);
    let prompts = Prompts { roles: &roles, repairs: &[] };
    for phase in [Phase::Prefill, Phase::Decode] {
        let repairs = calibrator.linear_repairs(phase, &[1], prompts).unwrap();
        assert_eq!((repairs.len(), repairs[0].layer()), (1, 1));
        // Answers have too few rows here for a fit to generalise.
        let most = if phase == Phase::Prefill { 1.0 } else { 2.0 };
        assert!(repairs[0].error() < most, "{phase:?}: {}", repairs[0].error());
        let bare = calibrator.loss(&roles, &roles).unwrap();
        let repaired = match phase {
            Phase::Prefill => Repairs { prefill: &repairs, decode: &[] },
            Phase::Decode => Repairs { prefill: &[], decode: &repairs },
        };
        assert_ne!(calibrator.loss_with(&roles, &roles, repaired).unwrap().all, bare);
        // The loss with repairs must not be cached as the loss without.
        assert_eq!(calibrator.loss(&roles, &roles).unwrap(), bare);
    }
}

/// A map that nodes load has the loss that the calibrator measured: applied to every row of a block that is left out,
/// and to all but the last row of a prompt where the block leaves keys and values.
#[test]
fn maps_cost_when_served_what_they_cost_when_tried() {
    let model = load();
    let mut calibrator = Calibrator::new(&model, samples(&model), 0).unwrap();
    let skipped = Roles::without(LAYERS, [1]);
    let maps = calibrator.linear_repairs(Phase::Prefill, &[1], Prompts { roles: &skipped, repairs: &[] }).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plan.safetensors");
    let BlockRepair::Linear(map) = &maps[0] else { panic!("a linear map") };
    let (delta, hidden) = (map.delta(), model.info().hidden);
    let bytes: Vec<u8> = delta.iter().flat_map(|value| value.to_le_bytes()).collect();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![hidden, hidden], &bytes).unwrap();
    std::fs::write(&path, safetensors::serialize([("map", view)], None).unwrap()).unwrap();
    let staged = |role| {
        let stage = Stage::new([(1, role)], Some(RepairFile::open(&path).unwrap()));
        Model::load(&folder(), &LoadOptions { stage, ..LoadOptions::default() }).unwrap()
    };
    let key_values = Roles::all(LAYERS).with([1], BlockRole::KeysAndValues { tensor: None });
    let cases = [
        (&skipped, BlockRole::Linear { tensor: "map".into() }, skipped.clone(), skipping(&[1])),
        (&key_values, BlockRole::KeysAndValues { tensor: Some("map".into()) }, Roles::all(LAYERS), skipping(&[])),
    ];
    for (prefill, role, decode, answers) in cases {
        let repairs = Repairs { prefill: &maps, decode: &[] };
        let tried = calibrator.loss_with(prefill, &decode, repairs).unwrap().all;
        let served = loss_served(&staged(role.clone()), &answers);
        assert!((tried - served).abs() < 1e-5, "{role:?}: {tried} {served}");
    }
}

#[test]
fn blocks_that_do_little_are_alike() {
    let model = load();
    let mut calibrator = Calibrator::new(&model, samples(&model), 0).unwrap();
    for phase in [Phase::Prefill, Phase::Decode] {
        let similarity = calibrator.redundancy(phase).unwrap().unwrap();
        assert_eq!(similarity.len(), LAYERS);
        assert!(similarity.iter().all(|value| (-1.0..=1.0).contains(value)), "{similarity:?}");
    }
    let keeps = |rows: usize| (rows > 4).then_some((1, 2));
    let mass = calibrator.concentration(&keeps).unwrap().unwrap();
    assert!(mass.len() == LAYERS && mass.iter().all(|value| (0.0..=1.0).contains(value)), "{mass:?}");
    assert_eq!(calibrator.concentration(&|_| None).unwrap(), None);
}
