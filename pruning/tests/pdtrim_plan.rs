//! Plans: round trips, refusals, and the role of each block in a stage.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use proptest::prelude::*;
use secateur_pruning::pdtrim::{
    BlockSet, Bypass, Calibration, Ends, KvRule, Plan, PlanDocument, PlanError, Removed, Repair, RepairFault,
    Retention, Role, Rule, Scores, SearchLog, Stage, StageKind, TierRule, bytes_fraction,
    search::{SeedRun, StageLog},
};

const PREFILL: StageKind = StageKind::Prefill;
const DECODE: StageKind = StageKind::Decode;

/// A plan of eight blocks that drops none.
fn document() -> PlanDocument {
    PlanDocument {
        format: 1,
        model_fingerprint: "f".into(),
        layers: 8,
        calibration: Calibration { name: "piqa+mmlu".into(), digest: "d".into(), samples: 256, seed: 7 },
        rule: Rule::Subset,
        prefill: Stage::default(),
        decode: Stage::default(),
        kv: Vec::new(),
        tiers: None,
        scores: Scores::default(),
        search: SearchLog::default(),
    }
}

fn dropping(blocks: &[usize]) -> Stage {
    Stage { removed: blocks.iter().map(|&layer| Removed { layer, repair: Repair::None }).collect() }
}

fn merged(layer: usize, with: usize) -> Removed {
    Removed { layer, repair: Repair::Merged { with, tensors: format!("merged.{with}.") } }
}

fn linear(layer: usize) -> Removed {
    Removed { layer, repair: Repair::Linear { tensor: format!("repair.{layer}") } }
}

fn error(change: impl FnOnce(&mut PlanDocument)) -> PlanError {
    let mut document = document();
    change(&mut document);
    Plan::new(document).unwrap_err()
}

/// The fault of a repair after `change`.
fn fault(change: impl FnOnce(&mut PlanDocument)) -> RepairFault {
    match error(change) {
        PlanError::Repair { fault, .. } => fault,
        other => panic!("{other}"),
    }
}

#[test]
fn the_smallest_plan_drops_nothing_and_sends_all() {
    let json = r#"{"format": 1, "model_fingerprint": "f", "layers": 4, "rule": "subset",
        "calibration": {"name": "none", "digest": "", "samples": 0, "seed": 0}}"#;
    let plan: Plan = json.parse().unwrap();
    assert!((0..4).all(|layer| plan.role(PREFILL, layer) == Role::Run && plan.role(DECODE, layer) == Role::Run));
    assert_eq!(plan.bytes_fraction(100), 1.0);
    assert!(!plan.needs_tensors());
}

#[test]
fn the_written_form() {
    let mut document = document();
    document.prefill.removed = vec![linear(3)];
    document.decode.removed = vec![linear(3), merged(5, 4)];
    document.kv = vec![KvRule::new(2, 0.07)];
    let json = Plan::new(document).unwrap().to_json().unwrap();
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["rule"], "subset");
    assert_eq!(value["decode"]["removed"][1]["repair"]["merged"]["with"], 4);
    assert_eq!(value["prefill"]["removed"][0]["repair"]["linear"]["tensor"], "repair.3");
    assert_eq!(
        value["kv"][0],
        serde_json::json!({"layer": 2, "keep": 0.07, "phi": 0.5, "first_min": 4, "last_min": 64})
    );
}

#[test]
fn defaults_of_a_kv_rule_and_a_repair() {
    let json = r#"{"format": 1, "model_fingerprint": "f", "layers": 8, "rule": "subset",
        "calibration": {"name": "n", "digest": "d", "samples": 1, "seed": 0},
        "decode": {"removed": [{"layer": 3}]}, "kv": [{"layer": 2, "keep": 0.1}]}"#;
    let plan = Plan::parse(json).unwrap();
    assert_eq!(plan.document().kv, [KvRule::new(2, 0.1)]);
    assert_eq!(plan.document().decode, dropping(&[3]));
    assert_eq!(plan.retention(2), Some(Retention::new(0.1, 0.5, 4, 64).unwrap()));
}

#[test]
fn roles_under_the_subset_rule() {
    let mut document = document();
    document.prefill = dropping(&[3]);
    document.decode.removed = vec![linear(3), Removed { layer: 4, repair: Repair::None }, merged(6, 5)];
    let plan = Plan::new(document).unwrap();
    assert_eq!(plan.role(PREFILL, 3), Role::Skip(Bypass::Identity));
    assert_eq!(plan.role(PREFILL, 4), Role::Run);
    assert_eq!(plan.role(PREFILL, 5), Role::Run);
    assert_eq!(plan.role(DECODE, 3), Role::Skip(Bypass::Linear { tensor: "repair.3" }));
    assert_eq!(plan.role(DECODE, 5), Role::RunMerged { tensors: "merged.5." });
    assert_eq!(plan.role(DECODE, 6), Role::Skip(Bypass::Identity));
    assert_eq!(plan.kept(PREFILL).collect::<Vec<_>>(), [0, 1, 2, 4, 5, 6, 7]);
    assert_eq!(plan.kept(DECODE).collect::<Vec<_>>(), [0, 1, 2, 5, 7]);
    assert_eq!(plan.removed(DECODE), BlockSet::of([3, 4, 6]).unwrap());
    assert!(plan.sends(5) && !plan.sends(4) && !plan.sends(8));
    assert!(plan.needs_tensors());
}

#[test]
fn relaxed_prefill_still_gives_the_keys_that_decode_reads() {
    let mut document = document();
    document.rule = Rule::Relaxed;
    document.prefill.removed = vec![linear(3), Removed { layer: 4, repair: Repair::None }];
    document.decode = dropping(&[4, 5]);
    let plan = Plan::new(document).unwrap();
    assert_eq!(plan.role(PREFILL, 3), Role::KvOnly(Bypass::Linear { tensor: "repair.3" }));
    assert_eq!(plan.role(PREFILL, 4), Role::Skip(Bypass::Identity));
    assert_eq!(plan.role(PREFILL, 5), Role::Run);
    assert_eq!(plan.role(DECODE, 3), Role::Run);
    assert_eq!(plan.role(DECODE, 5), Role::Skip(Bypass::Identity));
}

#[test]
fn bytes_follow_the_algebra_on_long_prompts() {
    let mut document = document();
    document.decode = dropping(&[3, 4]);
    document.kv = [1, 2, 5].map(|layer| KvRule::new(layer, 0.07)).to_vec();
    let plan = Plan::new(document).unwrap();
    assert!((plan.bytes_fraction(10_000) - bytes_fraction(8, 6, 3, 0.07)).abs() < 1e-12);
    assert_eq!(plan.bytes_fraction(10), 0.75, "minimums cover a short prompt");
    assert_eq!(plan.bytes_fraction(0), 1.0);
    assert_eq!(plan.ends(1, 10_000).map(|ends| ends.count()), Some(700));
    assert_eq!(plan.ends(0, 10_000), Some(Ends::all(10_000)));
    assert_eq!(plan.ends(3, 10_000), None);
}

#[test]
fn another_format_is_named_even_if_its_fields_are_unknown() {
    let later = Plan::parse(r#"{"format": 2, "surprise": true}"#).unwrap_err();
    assert_eq!(later.to_string(), "format is 2; this build reads 1");
    assert!(matches!(error(|plan| plan.format = 0), PlanError::Format(0)));
}

#[test]
fn unknown_and_missing_fields_are_refused_at_every_depth() {
    let mut document = document();
    document.decode.removed = vec![linear(2), merged(5, 4)];
    document.kv = vec![KvRule::new(1, 0.5)];
    document.search.decode = Some(log(1.0));
    let json = Plan::new(document).unwrap().to_json().unwrap();
    let places =
        ["", "/calibration", "/prefill", "/decode/removed/0", "/decode/removed/0/repair/linear", "/kv/0", "/scores"];
    let deeper = ["/decode/removed/1/repair/merged", "/search", "/search/decode", "/search/decode/runs/0"];
    for place in places.into_iter().chain(deeper) {
        let mut value: serde_json::Value = serde_json::from_str(&json).unwrap();
        value.pointer_mut(place).unwrap()["surprise"] = 1.into();
        let error = Plan::parse(&value.to_string()).unwrap_err();
        assert!(error.to_string().contains("surprise"), "{place}: {error}");
    }
    for field in ["format", "model_fingerprint", "layers", "calibration", "rule"] {
        let mut value: serde_json::Value = serde_json::from_str(&json).unwrap();
        value.as_object_mut().unwrap().remove(field);
        assert!(Plan::parse(&value.to_string()).unwrap_err().to_string().contains(field));
    }
}

#[test]
fn heads_are_checked() {
    assert!(matches!(error(|plan| plan.model_fingerprint.clear()), PlanError::NoFingerprint));
    assert!(matches!(error(|plan| plan.layers = 0), PlanError::Layers(0)));
    assert!(matches!(error(|plan| plan.layers = 257), PlanError::Layers(257)));
}

#[test]
fn removal_lists_are_checked() {
    let text = |prefill: &[usize], decode: &[usize]| {
        error(|plan| (plan.prefill, plan.decode) = (dropping(prefill), dropping(decode))).to_string()
    };
    assert_eq!(text(&[], &[8]), "decode.removed has block 8; the last one is 7");
    assert!(text(&[3, 3], &[3]).contains("prefill.removed must be ascending without repeats"));
    assert!(text(&[], &[4, 2]).contains("block 2 follows block 4"));
    assert!(text(&[0], &[0]).contains("prefill.removed has block 0; the first and the last"));
    assert!(text(&[], &[7]).contains("decode.removed has block 7; the first and the last"));
    assert!(text(&[2, 3], &[2, 4]).contains("prefill.removed has block 3, which decode keeps"));
}

#[test]
fn repairs_are_checked() {
    let decode = |removed: Vec<Removed>| fault(|plan| plan.decode.removed = removed);
    let unnamed = Repair::Linear { tensor: String::new() };
    assert_eq!(decode(vec![Removed { layer: 2, repair: unnamed }]), RepairFault::Unnamed);
    let unnamed = Repair::Merged { with: 3, tensors: String::new() };
    assert_eq!(decode(vec![Removed { layer: 2, repair: unnamed }]), RepairFault::Unnamed);
    assert_eq!(decode(vec![merged(2, 2)]), RepairFault::NotNeighbour(2));
    assert_eq!(decode(vec![merged(2, 4)]), RepairFault::NotNeighbour(4));
    assert_eq!(decode(vec![merged(2, 3), linear(3)]), RepairFault::WithDropped(3));
    assert_eq!(decode(vec![merged(1, 0)]), RepairFault::WithProtected(0));
    assert_eq!(decode(vec![merged(6, 7)]), RepairFault::WithProtected(7));
    assert_eq!(decode(vec![merged(2, 3), merged(4, 3)]), RepairFault::WithTaken(3));
}

#[test]
fn merged_keys_need_merged_queries() {
    let lost = fault(|plan| {
        plan.prefill.removed = vec![merged(3, 4)];
        plan.decode.removed = vec![linear(3)];
    });
    assert_eq!(lost, RepairFault::DecodeDiffers(4));
    // Merged in both stages; decode drops the neighbour, so its keys are never read; merged for decode alone.
    let fine = [
        (vec![merged(3, 4)], vec![merged(3, 4)]),
        (vec![merged(3, 4)], vec![linear(3), linear(4)]),
        (vec![], vec![merged(3, 4)]),
    ];
    for (prefill, decode) in fine {
        let stages = (Stage { removed: prefill }, Stage { removed: decode });
        assert!(Plan::new(PlanDocument { prefill: stages.0, decode: stages.1, ..document() }).is_ok());
    }
}

#[test]
fn kv_rules_are_checked() {
    let text = |kv: Vec<KvRule>| error(|plan| (plan.kv, plan.decode) = (kv, dropping(&[3]))).to_string();
    assert_eq!(text(vec![KvRule::new(3, 0.1)]), "kv has layer 3, which decode drops, so it sends nothing");
    assert_eq!(text(vec![KvRule::new(9, 0.1)]), "kv has block 9; the last one is 7");
    assert!(text(vec![KvRule::new(2, 0.1), KvRule::new(1, 0.1)]).contains("kv must be ascending"));
    assert_eq!(text(vec![KvRule::new(2, 0.0)]), "kv, layer 2: keep must be above 0 and at most 1, not 0");
    assert!(text(vec![KvRule { phi: 1.5, ..KvRule::new(2, 0.1) }]).contains("phi must be"));
    assert!(text(vec![KvRule { last_min: 0, ..KvRule::new(2, 0.1) }]).contains("last_min must be"));
}

#[test]
fn scores_and_logs_are_checked() {
    let text = |change: fn(&mut PlanDocument)| error(change).to_string();
    assert!(text(|plan| plan.scores.concentration = vec![0.5; 7]).starts_with("scores.concentration has 7 values"));
    assert!(text(|plan| plan.scores.decode_similarity = vec![f64::NAN; 8]).contains("not a finite number"));
    assert!(text(|plan| plan.scores.distill_threshold = Some(f64::INFINITY)).contains("distill_threshold"));
    assert!(text(|plan| plan.search.prefill = Some(log(f64::NAN))).contains("search.prefill.runs: energy"));
    let beyond = |plan: &mut PlanDocument| {
        let mut log = log(1.0);
        log.runs[0].removed = BlockSet::EMPTY.with(8);
        plan.search.decode = Some(log);
    };
    assert!(error(beyond).to_string().contains("search.decode.runs has block 8"));
}

fn log(energy: f64) -> StageLog {
    let removed = BlockSet::of([2, 5]).unwrap();
    let run = SeedRun { seed: 7, removed, energy, start_temperature: 0.1, accepted: 3 };
    StageLog { dense: Some(2.5), evaluations: 40, measured: 0.25, runs: vec![run] }
}

#[test]
fn a_seed_without_any_energy_reads_back() {
    let mut document = document();
    document.search.prefill = Some(log(f64::INFINITY));
    let plan = Plan::new(document).unwrap();
    assert_eq!(Plan::parse(&plan.to_json().unwrap()).unwrap(), plan);
}

fn repair(layer: usize, kind: u8) -> Repair {
    match kind {
        0 => Repair::None,
        _ => Repair::Linear { tensor: format!("repair.{layer}") },
    }
}

prop_compose! {
    /// Any valid plan without merged pairs.
    fn plans()(layers in 3usize..120)(
        layers in Just(layers),
        prefill in prop::collection::btree_map(1..layers - 1, 0u8..2, 0..layers - 1),
        decode in prop::collection::btree_map(1..layers - 1, 0u8..2, 0..layers - 1),
        kv in prop::collection::btree_map(0..layers, (1e-3f64..=1.0, 0f64..=1.0, 0usize..99, 1usize..99), 0..layers),
        concentration in prop::collection::vec(0f64..1.0, layers),
        similarity in prop::collection::vec(-1f64..1.0, layers),
        seed in any::<u64>(),
        energy in prop::num::f64::NORMAL,
        relaxed in any::<bool>(),
    ) -> PlanDocument {
        let mut decode = decode;
        if !relaxed {
            decode.extend(prefill.clone());
        }
        let stage = |removed: &std::collections::BTreeMap<usize, u8>| {
            let blocks = BlockSet::of(removed.keys().copied()).unwrap();
            Stage::dropping(blocks, |layer| repair(layer, removed[&layer]))
        };
        let rules = kv.into_iter().filter(|(layer, _)| !decode.contains_key(layer));
        let rule = |(layer, (keep, phi, first_min, last_min))| KvRule { layer, keep, phi, first_min, last_min };
        let run = SeedRun { seed, removed: BlockSet::EMPTY, energy, start_temperature: energy.abs(), accepted: 1 };
        PlanDocument {
            layers,
            rule: if relaxed { Rule::Relaxed } else { Rule::Subset },
            prefill: stage(&prefill),
            decode: stage(&decode),
            kv: rules.map(rule).collect(),
            scores: Scores {
                decode_similarity: similarity,
                concentration,
                distill_threshold: Some(0.95),
                ..Scores::default()
            },
            search: SearchLog { prefill: None, decode: Some(StageLog { dense: None, evaluations: 1, measured: 1.0, runs: vec![run] }) },
            ..document()
        }
    }
}

proptest! {
    #[test]
    fn plans_read_back_bit_for_bit(document in plans()) {
        let plan = Plan::new(document).unwrap();
        let json = plan.to_json().unwrap();
        let again = Plan::parse(&json).unwrap();
        prop_assert_eq!(again.to_json().unwrap(), json);
        prop_assert_eq!(again, plan);
    }

    /// Invariant 7: every block that decode keeps has keys and values, and no other block sends any.
    #[test]
    fn every_block_that_decode_keeps_has_kv(document in plans()) {
        let plan = Plan::new(document).unwrap();
        for layer in 0..plan.document().layers {
            let decode_runs = matches!(plan.role(DECODE, layer), Role::Run | Role::RunMerged { .. });
            prop_assert_eq!(decode_runs, plan.sends(layer));
            prop_assert_eq!(plan.ends(layer, 500).is_some(), decode_runs);
            if decode_runs {
                prop_assert!(!matches!(plan.role(PREFILL, layer), Role::Skip(_)));
            }
            if plan.document().rule == Rule::Subset {
                prop_assert!(!matches!(plan.role(PREFILL, layer), Role::KvOnly(_)));
            }
        }
    }
}

#[test]
fn tiers_are_read_and_bits_that_no_value_has_are_refused() {
    let tiers = |middle_bits: f64, selected_bits: f64| Some(TierRule { first: 2, last: 4, middle_bits, selected_bits });
    let plan = Plan::new(PlanDocument { tiers: tiers(3.0, 2.0), ..document() }).unwrap();
    assert_eq!(Plan::parse(&plan.to_json().unwrap()).unwrap(), plan);
    for (field, wrong) in [("middle_bits", tiers(5.1, 2.0)), ("selected_bits", tiers(16.0, 0.0))] {
        let error = Plan::new(PlanDocument { tiers: wrong, ..document() }).unwrap_err();
        assert!(error.to_string().contains(field), "{error}");
    }
}
