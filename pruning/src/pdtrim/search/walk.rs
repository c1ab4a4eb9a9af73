//! One seed: probe, anneal, descend.

use std::cmp::Ordering;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    Energy, Phase, Progress, Task,
    log::SeedRun,
    memo::Memo,
    race::{self, Lane},
    schedule::{margin, start_temperature},
};
use crate::pdtrim::{block_set::BlockSet, redundancy::Split};

/// How the calibration samples are cut into parts.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    /// Tokens of every sample.
    tokens: Vec<f64>,
    /// Where each part's samples end.
    ends: Vec<usize>,
}

impl Parts {
    pub(super) fn new(parts: &[Vec<usize>]) -> Parts {
        let tokens: Vec<f64> = parts.iter().flatten().map(|&tokens| tokens as f64).collect();
        let ends = parts.iter().scan(0, |end, part| {
            *end += part.len();
            Some(*end)
        });
        Parts { ends: ends.collect(), tokens }
    }

    pub(super) fn samples(&self) -> usize {
        self.tokens.len()
    }

    /// The part behind that many measured samples; `None`: all are.
    fn behind(&self, samples: usize) -> Option<usize> {
        let part = self.ends.partition_point(|&end| end <= samples);
        (part < self.ends.len()).then_some(part)
    }
}

/// What one seed needs of the search.
pub(super) struct Walk<'a, E, P> {
    pub(super) task: &'a Task<'a>,
    pub(super) split: Split,
    pub(super) seed: u64,
    pub(super) parts: &'a Parts,
    pub(super) memo: &'a mut Memo,
    /// Sets that had to be measured, if on a part only, since the search began.
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
    /// The best set seen, measured on all samples, and how it was found. What the memo knows beyond this walk has no say
    /// in it, so a resumed search ends where an uninterrupted one does.
    pub(super) fn run(mut self) -> Result<SeedRun, E::Error> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let start = self.task.constraint.start(self.task.similarity);
        self.measure(start)?;
        let mut best = start;
        let start_temperature = self.probe(start, &mut best, &mut random)?;
        let accepted = self.anneal(start, start_temperature, &mut best, &mut random)?;
        self.descend(&mut best)?;
        while self.measure_part(best)? {}
        let energy = self.energy(best);
        Ok(SeedRun { seed: self.seed, removed: best, energy, start_temperature, accepted })
    }

    fn probe(&mut self, start: BlockSet, best: &mut BlockSet, random: &mut ChaCha8Rng) -> Result<f64, E::Error> {
        let steps = self.task.schedule.probes;
        let mut changes = Vec::with_capacity(steps);
        for step in 0..steps {
            let Some(set) = self.random_swap(start, random) else { break };
            self.improve(best, set)?;
            changes.push(race::change(self.lane(set), self.lane(start)));
            self.show(*best, At { phase: Phase::Probe, step, steps, temperature: 0.0 });
        }
        Ok(start_temperature(&changes))
    }

    /// Number of accepted swaps.
    fn anneal(
        &mut self,
        start: BlockSet,
        start_temperature: f64,
        best: &mut BlockSet,
        random: &mut ChaCha8Rng,
    ) -> Result<usize, E::Error> {
        let steps = self.task.schedule.steps;
        let (mut current, mut accepted) = (start, 0);
        for step in 0..steps {
            let Some(set) = self.random_swap(current, random) else { break };
            let temperature = self.task.schedule.temperature(start_temperature, step);
            // What is worse than the current set by more than the margin is worse than the best one too.
            if self.race(set, current, margin(temperature, random.random()))? != Ordering::Greater {
                current = set;
                accepted += 1;
                self.improve(best, set)?;
            }
            self.show(*best, At { phase: Phase::Anneal, step, steps, temperature });
        }
        Ok(accepted)
    }

    /// From the best set: takes the best of all single swaps as long as it improves.
    fn descend(&mut self, best: &mut BlockSet) -> Result<(), E::Error> {
        loop {
            let from = *best;
            let neighbours: Vec<BlockSet> = self.task.constraint.neighbours(from).collect();
            let steps = neighbours.len();
            for (step, set) in neighbours.into_iter().enumerate() {
                self.improve(best, set)?;
                self.show(*best, At { phase: Phase::Descent, step, steps, temperature: 0.0 });
            }
            if *best == from {
                return Ok(());
            }
        }
    }

    /// \[R\] Lower energy; at equal energy fewer blocks that need a repair ("use the pruning set first").
    fn improve(&mut self, best: &mut BlockSet, set: BlockSet) -> Result<(), E::Error> {
        let distilled = |set: BlockSet| set.intersection(self.split.distill).len();
        let is_fewer = distilled(set) < distilled(*best);
        match self.race(set, *best, 0.0)? {
            Ordering::Less => *best = set,
            Ordering::Equal if is_fewer => *best = set,
            _ => {}
        }
        Ok(())
    }

    /// How `one`'s energy compares with `other`'s plus `margin`, measured as far as it takes to tell.
    fn race(&mut self, one: BlockSet, other: BlockSet, margin: f64) -> Result<Ordering, E::Error> {
        loop {
            if let Some(decision) = race::decide(self.lane(one), self.lane(other), margin) {
                return Ok(decision);
            }
            let behind = if self.memo.get(one).len() <= self.memo.get(other).len() { one } else { other };
            self.measure_part(behind)?;
        }
    }

    /// At least the first part.
    fn measure(&mut self, set: BlockSet) -> Result<(), E::Error> {
        if self.memo.get(set).is_empty() {
            self.measure_part(set)?;
        }
        Ok(())
    }

    /// One part more; `false`: there is none.
    fn measure_part(&mut self, set: BlockSet) -> Result<bool, E::Error> {
        let measured = self.memo.get(set).len();
        let Some(part) = self.parts.behind(measured) else { return Ok(false) };
        let nats = self.energy.nats(set, part)?;
        *self.evaluations += usize::from(measured == 0);
        self.memo.extend(set, nats);
        Ok(true)
    }

    fn lane(&self, set: BlockSet) -> Lane<'_> {
        Lane { nats: self.memo.get(set), tokens: &self.parts.tokens }
    }

    /// Over what was measured.
    fn energy(&self, set: BlockSet) -> f64 {
        let lane = self.lane(set);
        lane.energy(lane.nats.len())
    }

    fn show(&mut self, best: BlockSet, at: At) {
        let best = self.energy(best);
        (self.progress)(Progress {
            stage: self.task.stage,
            seed: self.seed,
            phase: at.phase,
            step: at.step + 1,
            steps: at.steps,
            evaluations: *self.evaluations,
            best,
            temperature: at.temperature,
            memo: self.memo,
        });
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
