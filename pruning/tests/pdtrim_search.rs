//! The annealed search on energies whose optimum is known by brute force.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::cell::Cell;
use std::collections::HashMap;
use std::convert::Infallible;

use proptest::prelude::*;
use secateur_pruning::pdtrim::{
    BlockSet, StageKind,
    redundancy::DISTILL_THRESHOLD,
    search::{Constraint, Energy, Memo, Outcome, Phase, Schedule, Search, SearchError, Task, TaskError},
};

/// A pseudo-random energy, the same on every machine: a loss of `a_i` per block and `b_ij` per pair.
#[derive(Clone)]
struct Synthetic {
    single: Vec<f64>,
    pair: Vec<Vec<f64>>,
}

impl Synthetic {
    fn new(layers: usize, seed: u64, coupling: f64) -> Self {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let single = (0..layers).map(|_| next()).collect();
        let pair = (0..layers).map(|_| (0..layers).map(|_| coupling * (next() - 0.5)).collect()).collect();
        Self { single, pair }
    }

    fn of(&self, set: BlockSet) -> f64 {
        let pairs = set.iter().flat_map(|i| set.iter().filter(move |&j| i < j).map(move |j| self.pair[i][j]));
        set.iter().map(|block| self.single[block]).sum::<f64>() + pairs.sum::<f64>()
    }

    /// The apparent cost of a block alone; like `s_l`, it ignores pairs.
    fn similarity(&self) -> Vec<f64> {
        self.single.iter().map(|cost| 1.0 - 0.1 * cost).collect()
    }
}

fn set(blocks: &[usize]) -> BlockSet {
    BlockSet::of(blocks.iter().copied()).unwrap()
}

fn constraint(layers: usize, required: BlockSet, size: usize) -> Constraint {
    Constraint::new(layers, BlockSet::ends(layers).unwrap(), required, size).unwrap()
}

fn task<'a>(similarity: &'a [f64], constraint: Constraint, seed: u64) -> Task<'a> {
    let (stage, context) = (StageKind::Decode, "synthetic".to_owned());
    Task { stage, context, constraint, similarity, threshold: DISTILL_THRESHOLD, schedule: Schedule::seeded(seed) }
}

fn solve(energy: &Synthetic, constraint: Constraint, seed: u64) -> Outcome {
    let similarity = energy.similarity();
    let mut search = Search::new(task(&similarity, constraint, seed)).unwrap();
    search.run(&mut |set| Ok::<_, Infallible>(energy.of(set)), |_| ()).unwrap()
}

fn brute_force(energy: &Synthetic, layers: usize, constraint: Constraint) -> f64 {
    let sets = (0u32..1 << layers).map(|bits| (0..layers).filter(move |block| bits >> block & 1 == 1));
    let admitted = sets.map(|blocks| BlockSet::of(blocks).unwrap()).filter(|&set| constraint.admits(set));
    admitted.map(|set| energy.of(set)).fold(f64::INFINITY, f64::min)
}

#[test]
fn additive_energies_are_solved_by_the_start() {
    for seed in 0..10 {
        let energy = Synthetic::new(14, seed, 0.0);
        let constraint = constraint(14, BlockSet::EMPTY, 5);
        let outcome = solve(&energy, constraint, seed);
        assert!((outcome.energy - brute_force(&energy, 14, constraint)).abs() < 1e-12);
        assert!(outcome.log.runs.iter().all(|run| run.removed == outcome.removed));
    }
}

#[test]
fn pair_interactions_are_solved() {
    for seed in 0..20 {
        let energy = Synthetic::new(14, seed, 1.5);
        let constraint = constraint(14, set(&[3]), 5);
        let outcome = solve(&energy, constraint, seed);
        let optimum = brute_force(&energy, 14, constraint);
        assert!((outcome.energy - optimum).abs() < 1e-12, "seed {seed}: {} for {optimum}", outcome.energy);
    }
}

#[test]
fn annealing_escapes_where_the_start_is_a_trap() {
    // 2, 3 and 4 look free. Two of 7 to 10 are best, but only together: each single swap towards them is worse, so
    // descent alone stays at the start.
    let similarity = [1.0, 0.9, 0.99, 0.99, 0.99, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 1.0];
    let good = set(&[7, 8, 9, 10]);
    let mut energy = |set: BlockSet| {
        let single: f64 = set.iter().map(|block| 1.0 - similarity[block]).sum();
        Ok::<_, Infallible>(if set.is_subset(good) { -1.0 } else { single })
    };
    let constraint = constraint(12, BlockSet::EMPTY, 2);
    let mut descent = task(&similarity, constraint, 0);
    (descent.schedule.probes, descent.schedule.steps) = (0, 0);
    let stuck = Search::new(descent).unwrap().run(&mut energy, |_| ()).unwrap();
    assert_eq!(stuck.removed, set(&[2, 3]));
    let outcome = Search::new(task(&similarity, constraint, 0)).unwrap().run(&mut energy, |_| ()).unwrap();
    assert_eq!(outcome.energy, -1.0);
    assert!(outcome.removed.is_subset(good));
    assert_eq!(outcome.needs_repair, outcome.removed);
    assert_eq!(outcome.log.spread().unwrap().0, -1.0);
}

#[test]
fn the_same_seed_gives_the_same_outcome() {
    let energy = Synthetic::new(40, 1, 1.0);
    let constraint = constraint(40, set(&[7, 8]), 10);
    assert_eq!(solve(&energy, constraint, 3), solve(&energy, constraint, 3));
    let walks = |seed| solve(&energy, constraint, seed).log.runs.iter().map(|run| run.accepted).collect::<Vec<_>>();
    assert_ne!(walks(3), walks(300), "another seed takes another way");
}

#[test]
fn each_set_is_asked_once_and_a_resumed_search_asks_nothing() {
    let energy = Synthetic::new(24, 5, 1.0);
    let similarity = energy.similarity();
    let task = || task(&similarity, constraint(24, set(&[4]), 6), 9);
    let mut asked = HashMap::<BlockSet, usize>::new();
    let mut search = Search::new(task()).unwrap();
    let first = search
        .run(
            &mut |set| {
                *asked.entry(set).or_default() += 1;
                Ok::<_, Infallible>(energy.of(set))
            },
            |_| (),
        )
        .unwrap();
    assert!(asked.values().all(|&times| times == 1));
    assert!(asked.keys().all(|&set| task().constraint.admits(set)), "required stay, ends are never removed");
    assert_eq!((first.evaluations, first.log.evaluations), (asked.len(), asked.len()));

    let json = serde_json::to_string(search.memo()).unwrap();
    let memo: Memo = serde_json::from_str(&json).unwrap();
    let mut resumed = Search::new(task()).unwrap().resume(memo).unwrap();
    let again = resumed.run(&mut |set| -> Result<f64, Infallible> { panic!("asked {set:?}") }, |_| ()).unwrap();
    assert_eq!(again.evaluations, 0);
    assert_eq!(again, Outcome { evaluations: 0, ..first });
}

#[test]
fn a_search_that_fails_goes_on_where_it_was() {
    let energy = Synthetic::new(24, 6, 1.0);
    let similarity = energy.similarity();
    let task = || task(&similarity, constraint(24, BlockSet::EMPTY, 6), 2);
    let whole = Search::new(task()).unwrap().run(&mut |set| Ok::<_, Infallible>(energy.of(set)), |_| ()).unwrap();

    let mut left = 100;
    let mut cut = Search::new(task()).unwrap();
    let mut failing = |set| {
        left -= 1;
        if left < 0 { Err("the machine went away") } else { Ok(energy.of(set)) }
    };
    assert_eq!(cut.run(&mut failing, |_| ()), Err(SearchError::Energy("the machine went away")));
    assert_eq!(cut.memo().len(), 100);

    let mut resumed = Search::new(task()).unwrap().resume(cut.memo().clone()).unwrap();
    let outcome = resumed.run(&mut |set| Ok::<_, Infallible>(energy.of(set)), |_| ()).unwrap();
    assert_eq!(outcome.evaluations, whole.evaluations - 100);
    assert_eq!(outcome.log, whole.log);
}

#[test]
fn a_memo_of_another_search_is_refused() {
    let similarity = [1.0; 8];
    let search = Search::new(task(&similarity, constraint(8, BlockSet::EMPTY, 2), 0)).unwrap();
    assert!(search.resume(Memo::new("prefill")).unwrap_err().to_string().contains("synthetic"));
}

#[test]
fn few_sets_are_all_that_is_ever_asked() {
    let energy = Synthetic::new(6, 3, 1.0);
    let constraint = constraint(6, BlockSet::EMPTY, 2);
    let outcome = solve(&energy, constraint, 0);
    assert_eq!(outcome.evaluations as u128, constraint.sets());
    assert!((outcome.energy - brute_force(&energy, 6, constraint)).abs() < 1e-12);
}

#[test]
fn one_possible_set_is_measured_once() {
    let energy = Synthetic::new(6, 3, 1.0);
    for (required, size) in [(set(&[]), 0), (set(&[]), 4), (set(&[2, 3]), 2)] {
        let outcome = solve(&energy, constraint(6, required, size), 0);
        assert_eq!(outcome.evaluations, 1);
        assert_eq!(outcome.removed.len(), size);
    }
}

#[test]
fn overflowing_losses_are_avoided_even_from_the_start() {
    let similarity = [1.0, 0.99, 0.98, 0.9, 0.8, 0.7, 0.6, 1.0];
    let mut energy = |set: BlockSet| {
        let bad = set.contains(1) || set.contains(2);
        Ok::<_, Infallible>(if bad { f64::NAN } else { set.iter().sum::<usize>() as f64 })
    };
    let mut search = Search::new(task(&similarity, constraint(8, BlockSet::EMPTY, 2), 0)).unwrap();
    assert_eq!(search.run(&mut energy, |_| ()).unwrap().removed, set(&[3, 4]));

    let mut search = Search::new(task(&similarity, constraint(8, BlockSet::EMPTY, 2), 0)).unwrap();
    let nothing = search.run(&mut |_| Ok::<_, Infallible>(f64::INFINITY), |_| ());
    assert_eq!(nothing, Err(SearchError::NothingFinite(15)));
}

#[test]
fn at_equal_loss_the_pruning_set_goes_first() {
    let similarity = [1.0, 0.5, 0.5, 0.5, 0.96, 0.97, 0.5, 1.0];
    let mut search = Search::new(task(&similarity, constraint(8, set(&[1]), 3), 0)).unwrap();
    let outcome = search.run(&mut |_| Ok::<_, Infallible>(1.0), |_| ()).unwrap();
    assert_eq!(outcome.removed, set(&[1, 4, 5]));
    assert_eq!(outcome.needs_repair, set(&[1]));
}

#[test]
fn at_equal_loss_a_swap_prefers_the_pruning_set() {
    // The start, {2, 3}, is bad, and all other sets are equally good; 4 is the only other block above d_T.
    let similarity = [1.0, 0.5, 0.98, 0.97, 0.96, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1.0];
    let mut energy = |blocks| Ok::<_, Infallible>(if blocks == set(&[2, 3]) { 1.0 } else { 0.0 });
    let mut search = Search::new(task(&similarity, constraint(12, BlockSet::EMPTY, 2), 0)).unwrap();
    let outcome = search.run(&mut energy, |_| ()).unwrap();
    assert_eq!(outcome.needs_repair, BlockSet::EMPTY);
    assert_eq!(outcome.log.runs.iter().filter(|run| !run.removed.contains(4)).count(), 0);
}

#[test]
fn descent_alone_solves_additive_energies_from_any_start() {
    let energy = Synthetic::new(14, 2, 0.0);
    let misleading: Vec<f64> = energy.single.clone();
    let constraint = constraint(14, BlockSet::EMPTY, 5);
    let mut descent = task(&misleading, constraint, 0);
    (descent.schedule.probes, descent.schedule.steps) = (0, 0);
    let outcome = Search::new(descent).unwrap().run(&mut |set| Ok::<_, Infallible>(energy.of(set)), |_| ()).unwrap();
    assert!((outcome.energy - brute_force(&energy, 14, constraint)).abs() < 1e-12);
}

#[test]
fn without_temperature_annealing_never_leaves_the_best_state() {
    let energy = Synthetic::new(24, 12, 1.0);
    let misleading: Vec<f64> = energy.single.clone();
    let mut cold = task(&misleading, constraint(24, BlockSet::EMPTY, 6), 0);
    cold.schedule.probes = 0;
    cold.schedule.seeds.truncate(1);
    let mut best: Option<BlockSet> = None;
    let is_near = Cell::new(true);
    let mut ask = |set: BlockSet| {
        let from = best.unwrap_or(set);
        is_near.set(set.difference(from).len() <= 1);
        best = Some(if energy.of(set) <= energy.of(from) { set } else { from });
        Ok::<_, Infallible>(energy.of(set))
    };
    let mut search = Search::new(cold).unwrap();
    let outcome = search.run(&mut ask, |at| assert!(at.phase != Phase::Anneal || is_near.get())).unwrap();
    assert!(outcome.log.runs[0].accepted > 3);
}

#[test]
fn progress_follows_the_schedule() {
    let energy = Synthetic::new(24, 8, 1.0);
    let similarity = energy.similarity();
    let mut search = Search::new(task(&similarity, constraint(24, BlockSet::EMPTY, 6), 4)).unwrap();
    let mut annealing: Vec<(u64, usize, f64)> = Vec::new();
    let (mut probes, mut lowest) = (0, HashMap::<u64, f64>::new());
    let outcome = search
        .run(&mut |set| Ok::<_, Infallible>(energy.of(set)), |at| {
            let low = lowest.entry(at.seed).or_insert(f64::INFINITY);
            assert!(at.best <= *low && at.step <= at.steps && at.memo.len() == at.evaluations);
            *low = at.best;
            match at.phase {
                Phase::Probe => probes += 1,
                Phase::Anneal => annealing.push((at.seed, at.step, at.temperature)),
                Phase::Descent => assert_eq!(at.temperature, 0.0),
            }
        })
        .unwrap();
    assert_eq!((probes, annealing.len()), (5 * 16, 5 * 200));
    for (run, steps) in outcome.log.runs.iter().zip(annealing.chunks(200)) {
        assert!(run.start_temperature > 0.0 && run.energy == lowest[&run.seed]);
        for (index, &(seed, step, temperature)) in steps.iter().enumerate() {
            assert_eq!((seed, step), (run.seed, index + 1));
            assert!((temperature / (run.start_temperature * 0.95f64.powi(index as i32)) - 1.0).abs() < 1e-9);
        }
    }
    let (low, high) = outcome.log.spread().unwrap();
    assert!(low == outcome.energy && high >= low);
}

/// Samples with losses of their own: the common energy plus a part that differs by sample and set.
struct Sampled<'a> {
    energy: &'a Synthetic,
    samples: usize,
    spread: f64,
}

impl Sampled<'_> {
    fn nats_of(&self, set: BlockSet, sample: usize) -> f64 {
        // Spread evenly over [-1, 1), by set and sample.
        let key =
            set.iter().fold(sample as u64 + 1, |key, block| key.wrapping_mul(0x0100_0000_01B3) ^ (block as u64 + 7));
        let own = Synthetic::new(1, key, 0.0).single[0] * 2.0 - 1.0;
        2.0 * (self.energy.of(set) + self.spread * own)
    }

    fn mean(&self, set: BlockSet) -> f64 {
        (0..self.samples).map(|sample| self.nats_of(set, sample)).sum::<f64>() / (2 * self.samples) as f64
    }
}

impl Energy for Sampled<'_> {
    type Error = Infallible;

    fn parts(&self) -> Vec<Vec<usize>> {
        vec![vec![2; 8]; self.samples / 8]
    }

    fn nats(&mut self, removed: BlockSet, part: usize) -> Result<Vec<f64>, Infallible> {
        Ok((part * 8..part * 8 + 8).map(|sample| self.nats_of(removed, sample)).collect())
    }
}

#[test]
fn a_race_ends_where_measuring_everything_does_for_a_fraction_of_it() {
    for seed in 0..10 {
        let energy = Synthetic::new(14, seed, 1.5);
        let similarity = energy.similarity();
        let constraint = constraint(14, BlockSet::EMPTY, 5);
        let mut sampled = Sampled { energy: &energy, samples: 256, spread: 0.5 };
        let mut search = Search::new(task(&similarity, constraint, seed)).unwrap();
        let raced = search.run(&mut sampled, |_| ()).unwrap();
        let whole = |set| Ok::<_, Infallible>(sampled.mean(set));
        let all = Search::new(task(&similarity, constraint, seed)).unwrap().run(&mut { whole }, |_| ()).unwrap();
        assert_eq!(raced.removed, all.removed, "seed {seed}");
        assert!((raced.energy - sampled.mean(raced.removed)).abs() < 1e-9, "the result is measured on all samples");
        assert!(raced.log.measured < 0.5, "seed {seed}: {}", raced.log.measured);

        // The memo of the finished search suffices to reach the same result.
        let mut resumed =
            Search::new(task(&similarity, constraint, seed)).unwrap().resume(search.memo().clone()).unwrap();
        assert_eq!(resumed.run(&mut sampled, |_| ()).unwrap(), Outcome { evaluations: 0, ..raced });
    }
}

#[test]
fn tasks_that_make_no_sense_are_refused() {
    let constraint = constraint(8, BlockSet::EMPTY, 2);
    let short = Search::new(task(&[1.0; 7], constraint, 0)).unwrap_err();
    assert_eq!(short, TaskError::Scores { found: 7, layers: 8 });
    let mut seedless = task(&[1.0; 8], constraint, 0);
    seedless.schedule.seeds.clear();
    assert_eq!(Search::new(seedless).unwrap_err(), TaskError::NoSeeds);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// No single swap improves the search's result, and only admitted sets are measured.
    #[test]
    fn ends_in_a_local_optimum(
        layers in 4usize..14, seed: u64, required in 0usize..3, extra in 0usize..4, coupling in 0f64..3.0,
    ) {
        let required = BlockSet::of((0..required.min(layers - 2)).map(|block| block + 1)).unwrap();
        let constraint = constraint(layers, required, (required.len() + extra).min(layers - 2));
        let energy = Synthetic::new(layers, seed, coupling);
        let similarity = energy.similarity();
        let mut search = Search::new(task(&similarity, constraint, seed)).unwrap();
        let outcome = search.run(&mut |set| {
            assert!(constraint.admits(set));
            Ok::<_, Infallible>(energy.of(set))
        }, |_| ()).unwrap();
        prop_assert!(outcome.evaluations as u128 <= constraint.sets());
        for out in outcome.removed.difference(required).iter() {
            for into in (1..layers - 1).filter(|&block| !outcome.removed.contains(block)) {
                prop_assert!(energy.of(outcome.removed.without(out).with(into)) >= outcome.energy);
            }
        }
    }
}
