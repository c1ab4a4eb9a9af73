//! The run of one seed: probe, anneal, descend.

use std::cmp::Ordering;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    log::SeedRun,
    memo::Memo,
    race::{self, Lane},
    schedule::{margin, start_temperature},
    task::{Energy, Phase, Progress, Task},
};
use crate::pdtrim::{block_set::BlockSet, redundancy::Split};

/// How the calibration samples are cut into parts.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    /// Number of tokens of every sample.
    tokens: Vec<f64>,
    /// Index one past the last sample of each part.
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

    /// The next part after `samples` measured samples; `None` if all samples are measured.
    fn behind(&self, samples: usize) -> Option<usize> {
        let part = self.ends.partition_point(|&end| end <= samples);
        (part < self.ends.len()).then_some(part)
    }

    /// Samples of the first look: as many whole parts as hold [`race::FIRST_LOOK`] samples, or all.
    fn first_look(&self) -> usize {
        let enough = self.ends.iter().find(|&&end| end >= race::FIRST_LOOK);
        enough.or(self.ends.last()).copied().unwrap_or(0)
    }
}

/// The parts of the search that one seed's run uses.
pub(super) struct Walk<'a, E, P> {
    pub(super) task: &'a Task<'a>,
    pub(super) split: Split,
    pub(super) seed: u64,
    pub(super) parts: &'a Parts,
    pub(super) memo: &'a mut Memo,
    /// Number of sets measured, at least on one part, since the search began.
    pub(super) evaluations: &'a mut usize,
    pub(super) energy: &'a mut E,
    pub(super) progress: &'a mut P,
}

/// A position in the schedule.
#[derive(Clone, Copy)]
struct At {
    phase: Phase,
    step: usize,
    steps: usize,
    temperature: f64,
}

impl<E: Energy, P: FnMut(Progress<'_>)> Walk<'_, E, P> {
    /// Returns the best set seen, measured on all samples, and how it was found. Losses that the memo has beyond this
    /// run do not influence it, so a resumed search ends where an uninterrupted one does.
    pub(super) fn run(mut self) -> Result<SeedRun, E::Error> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let start = self.task.constraint.start(self.task.similarity);
        self.measure(start, 1)?;
        let mut best = start;
        let start_temperature = self.probe(start, &mut best, &mut random)?;
        let accepted = self.anneal(start, start_temperature, &mut best, &mut random)?;
        self.descend(&mut best)?;
        self.measure(best, self.parts.samples())?;
        let energy = self.energy(best);
        Ok(SeedRun { seed: self.seed, removed: best, energy, start_temperature, accepted })
    }

    fn probe(&mut self, start: BlockSet, best: &mut BlockSet, random: &mut ChaCha8Rng) -> Result<f64, E::Error> {
        let steps = self.task.schedule.probes;
        let mut changes = Vec::with_capacity(steps);
        for step in 0..steps {
            let Some(set) = self.random_swap(start, random) else { break };
            self.improve(best, set)?;
            let look = self.parts.first_look();
            self.measure(set, look)?;
            self.measure(start, look)?;
            changes.push(race::change(self.lane(set, look), self.lane(start, look)));
            self.show(*best, At { phase: Phase::Probe, step, steps, temperature: 0.0 });
        }
        Ok(start_temperature(&changes))
    }

    /// Anneals from `start` and returns the number of accepted swaps.
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
            // A set that is worse than the current one by more than the margin is also worse than the best one.
            if self.race(set, current, margin(temperature, random.random()))? != Ordering::Greater {
                current = set;
                accepted += 1;
                self.improve(best, set)?;
            }
            self.show(*best, At { phase: Phase::Anneal, step, steps, temperature });
        }
        Ok(accepted)
    }

    /// Descends from the best set: takes the best single swap as long as it improves.
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

    /// \[R\] Replaces `best` if `set` has lower energy, or equal energy and fewer blocks that need a repair ("use the
    /// pruning set first").
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

    /// Compares `one`'s energy with `other`'s plus `margin`, measuring as many parts as it takes to tell.
    fn race(&mut self, one: BlockSet, other: BlockSet, margin: f64) -> Result<Ordering, E::Error> {
        // Part by part, whatever is known beyond them: the decision depends on the losses alone.
        for part in 0..self.parts.ends.len() {
            let samples = self.parts.ends[part];
            self.measure(one, samples)?;
            self.measure(other, samples)?;
            if let Some(decision) = race::decide(self.lane(one, samples), self.lane(other, samples), margin) {
                return Ok(decision);
            }
        }
        Ok(Ordering::Equal)
    }

    /// Measures the parts that are missing of the first `samples` samples.
    fn measure(&mut self, set: BlockSet, samples: usize) -> Result<(), E::Error> {
        while self.memo.get(set).len() < samples {
            let measured = self.memo.get(set).len();
            let Some(part) = self.parts.behind(measured) else { break };
            let nats = self.energy.nats(set, part)?;
            *self.evaluations += usize::from(measured == 0);
            self.memo.extend(set, nats);
        }
        Ok(())
    }

    fn lane(&self, set: BlockSet, samples: usize) -> Lane<'_> {
        let nats = self.memo.get(set);
        Lane { nats: &nats[..samples.min(nats.len())], tokens: &self.parts.tokens }
    }

    /// The energy over the samples that were measured.
    fn energy(&self, set: BlockSet) -> f64 {
        let lane = self.lane(set, usize::MAX);
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

    /// Swaps one member for one outsider, each drawn uniformly; `None` if no swap is possible.
    fn random_swap(&self, set: BlockSet, random: &mut ChaCha8Rng) -> Option<BlockSet> {
        let out = draw(self.task.constraint.members(set), random)?;
        let into = draw(self.task.constraint.outsiders(set), random)?;
        Some(set.without(out).with(into))
    }
}

fn draw(set: BlockSet, random: &mut ChaCha8Rng) -> Option<usize> {
    // The width is 64 bits, so that the draws are the same on every machine.
    (!set.is_empty()).then(|| random.random_range(0..set.len() as u64)).and_then(|nth| set.iter().nth(nth as usize))
}
