//! The record of a search in the plan: every seed's result, so that their spread can be judged.

use serde::{Deserialize, Serialize};

use crate::pdtrim::block_set::BlockSet;

/// One stage's search.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageLog {
    /// Energy with nothing removed, if the caller measured it; same unit as the other energies (NLL per token, nats).
    #[serde(default)]
    pub dense: Option<f64>,
    /// Number of sets measured, each on as many samples as it took to compare it with another.
    pub evaluations: usize,
    /// Share of these sets' sample losses that were measured.
    #[serde(default = "whole")]
    pub measured: f64,
    /// One entry per seed, in the order they ran.
    pub runs: Vec<SeedRun>,
}

/// One seed's annealing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedRun {
    /// The seed.
    pub seed: u64,
    /// The best set that the seed saw.
    pub removed: BlockSet,
    /// Energy of that set; infinite (null in JSON) if no set that the seed saw had a finite one.
    #[serde(with = "null_if_infinite")]
    pub energy: f64,
    /// The first temperature, `T_0`.
    pub start_temperature: f64,
    /// Swaps that the annealing accepted.
    pub accepted: usize,
}

/// Default share of measured losses: logs without the field measured every set on all samples.
fn whole() -> f64 {
    1.0
}

impl StageLog {
    /// Lowest and highest energy over the seeds; `None` without seeds.
    pub fn spread(&self) -> Option<(f64, f64)> {
        let energies = self.runs.iter().map(|run| run.energy);
        energies.fold(None, |spread, energy| {
            let (low, high) = spread.unwrap_or((energy, energy));
            Some((low.min(energy), high.max(energy)))
        })
    }
}

/// Serialises infinity as null, because JSON has no infinity.
mod null_if_infinite {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(energy: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        energy.is_finite().then_some(*energy).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or(f64::INFINITY))
    }
}
