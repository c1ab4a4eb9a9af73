//! One seed: probe, anneal, descend.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    Energy, Phase, Progress, Task,
    log::SeedRun,
    memo::Memo,
    schedule::{accepts, start_temperature},
};
use crate::pdtrim::{block_set::BlockSet, redundancy::Split};

/// A visited set.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) set: BlockSet,
    pub(super) energy: f64,
    distilled: usize,
}

impl State {
    /// \[R\] Lower energy; at equal energy fewer blocks that need a repair ("use the pruning set first").
    pub(super) fn beats(&self, other: &State) -> bool {
        self.energy.total_cmp(&other.energy).then(self.distilled.cmp(&other.distilled)).is_lt()
    }

    /// Equal where both are infinite, so that a search that starts among sets without an energy can still move.
    fn change_from(&self, from: &State) -> f64 {
        if self.energy == from.energy { 0.0 } else { self.energy - from.energy }
    }
}

/// What one seed needs of the search.
pub(super) struct Walk<'a, E, P> {
    pub(super) task: &'a Task<'a>,
    pub(super) split: Split,
    pub(super) seed: u64,
    pub(super) memo: &'a mut Memo,
    pub(super) evaluations: &'a mut usize,
    pub(super) energy: &'a mut E,
    pub(super) progress: &'a mut P,
}

/// Where in the schedule a set is visited.
#[derive(Clone, Copy)]
struct At {
    phase: Phase,
    step: usize,
    steps: usize,
    temperature: f64,
}

impl<E: Energy, P: FnMut(Progress<'_>)> Walk<'_, E, P> {
    /// The best state seen, and how it was found. What the memo knows beyond this walk has no say in it, so a resumed
    /// search ends where an uninterrupted one does.
    pub(super) fn run(mut self) -> Result<(State, SeedRun), E::Error> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let set = self.task.constraint.start(self.task.similarity);
        let energy = self.measure(set)?;
        let start = self.state(set, energy);
        let mut best = start;
        let start_temperature = self.probe(start, &mut best, &mut random)?;
        let accepted = self.anneal(start, start_temperature, &mut best, &mut random)?;
        self.descend(&mut best)?;
        let run = SeedRun { seed: self.seed, removed: best.set, energy: best.energy, start_temperature, accepted };
        Ok((best, run))
    }

    fn probe(&mut self, start: State, best: &mut State, random: &mut ChaCha8Rng) -> Result<f64, E::Error> {
        let steps = self.task.schedule.probes;
        let mut changes = Vec::with_capacity(steps);
        for step in 0..steps {
            let Some(set) = self.random_swap(start.set, random) else { break };
            let probe = self.visit(set, best, At { phase: Phase::Probe, step, steps, temperature: 0.0 })?;
            changes.push(probe.change_from(&start));
        }
        Ok(start_temperature(&changes))
    }

    /// Number of accepted swaps.
    fn anneal(
        &mut self,
        start: State,
        start_temperature: f64,
        best: &mut State,
        random: &mut ChaCha8Rng,
    ) -> Result<usize, E::Error> {
        let steps = self.task.schedule.steps;
        let (mut current, mut accepted) = (start, 0);
        for step in 0..steps {
            let Some(set) = self.random_swap(current.set, random) else { break };
            let temperature = self.task.schedule.temperature(start_temperature, step);
            let proposed = self.visit(set, best, At { phase: Phase::Anneal, step, steps, temperature })?;
            if accepts(proposed.change_from(&current), temperature, random.random()) {
                current = proposed;
                accepted += 1;
            }
        }
        Ok(accepted)
    }

    /// From the best state: takes the best of all single swaps as long as it improves.
    fn descend(&mut self, best: &mut State) -> Result<(), E::Error> {
        loop {
            let from = *best;
            let neighbours: Vec<BlockSet> = self.task.constraint.neighbours(from.set).collect();
            let steps = neighbours.len();
            for (step, set) in neighbours.into_iter().enumerate() {
                self.visit(set, best, At { phase: Phase::Descent, step, steps, temperature: 0.0 })?;
            }
            if best.set == from.set {
                return Ok(());
            }
        }
    }

    fn visit(&mut self, set: BlockSet, best: &mut State, at: At) -> Result<State, E::Error> {
        let energy = self.measure(set)?;
        let state = self.state(set, energy);
        if state.beats(best) {
            *best = state;
        }
        (self.progress)(Progress {
            stage: self.task.stage,
            seed: self.seed,
            phase: at.phase,
            step: at.step + 1,
            steps: at.steps,
            evaluations: *self.evaluations,
            best: best.energy,
            temperature: at.temperature,
            memo: self.memo,
        });
        Ok(state)
    }

    fn measure(&mut self, set: BlockSet) -> Result<f64, E::Error> {
        if let Some(energy) = self.memo.get(set) {
            return Ok(energy);
        }
        let energy = self.energy.energy(set)?;
        *self.evaluations += 1;
        Ok(self.memo.insert(set, energy))
    }

    fn state(&self, set: BlockSet, energy: f64) -> State {
        State { set, energy, distilled: set.intersection(self.split.distill).len() }
    }

    /// One member out, one outsider in, each drawn evenly; `None` if nothing can move.
    fn random_swap(&self, set: BlockSet, random: &mut ChaCha8Rng) -> Option<BlockSet> {
        let out = draw(self.task.constraint.members(set), random)?;
        let into = draw(self.task.constraint.outsiders(set), random)?;
        Some(set.without(out).with(into))
    }
}

fn draw(set: BlockSet, random: &mut ChaCha8Rng) -> Option<usize> {
    // A 64-bit width, so that the draws are the same on every machine.
    (!set.is_empty()).then(|| random.random_range(0..set.len() as u64)).and_then(|nth| set.iter().nth(nth as usize))
}
