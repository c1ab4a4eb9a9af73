//! The two searches: the blocks that prefill leaves out, then those of decode.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use secateur_model::{
    BlockRole, ModelError,
    calibrate::{Calibrator, Roles},
};
use secateur_pruning::pdtrim::{
    BlockSet, Rule, StageKind,
    redundancy::DISTILL_THRESHOLD,
    search::{Constraint, Energy, Memo, Outcome, Progress, Schedule, Search, StageLog, Task},
};

use crate::usage::usage;

/// Longest time that measured losses are only in memory.
const WRITTEN_EVERY: Duration = Duration::from_secs(2);

/// Parameters of both searches.
pub struct Searches<'a> {
    /// Relation of the two removal sets.
    pub rule: Rule,
    /// Annealing schedule.
    pub schedule: Schedule,
    /// Name of checkpoint and samples, so that losses measured for others are not reused.
    pub context: String,
    /// Folder in which measured losses are saved.
    pub folder: &'a Path,
}

/// A stage's removal set with its log.
pub struct Found {
    /// The removed blocks.
    pub removed: BlockSet,
    /// Log of the search; `None` if no block is removed.
    pub log: Option<StageLog>,
}

/// The loss of the calibration answers when a set is tried for a stage.
struct Answers<'a, 'b, 'm> {
    searches: &'a Searches<'b>,
    stage: StageKind,
    before: BlockSet,
    calibrator: &'a mut Calibrator<'m>,
}

impl Energy for Answers<'_, '_, '_> {
    type Error = ModelError;

    fn parts(&self) -> Vec<Vec<usize>> {
        self.calibrator.parts()
    }

    fn nats(&mut self, removed: BlockSet, part: usize) -> Result<Vec<f64>, ModelError> {
        let (prefill, decode) = self.searches.roles(self.stage, self.calibrator.layers(), removed, self.before);
        self.calibrator.nats(part, &prefill, &decode)
    }
}

impl Searches<'_> {
    /// Searches the set of one stage. `before` is prefill's set, for decode's search.
    pub fn run(
        &self,
        stage: StageKind,
        size: usize,
        before: BlockSet,
        similarity: &[f64],
        calibrator: &mut Calibrator<'_>,
        mut progress: impl FnMut(&Progress<'_>),
    ) -> anyhow::Result<Found> {
        let layers = calibrator.layers();
        let required = match (stage, self.rule) {
            (StageKind::Decode, Rule::Subset) => before,
            _ => BlockSet::EMPTY,
        };
        let constraint = Constraint::new(layers, BlockSet::ends(layers)?, required, size)
            .map_err(|error| usage(format!("--{stage}-remove {size}: {error}")))?;
        if size == 0 {
            return Ok(Found { removed: BlockSet::EMPTY, log: None });
        }
        let whole = Roles::all(layers);
        let dense = calibrator.loss(&whole, &whole)?;
        let context = format!("{} {:?} {stage} of {size} behind {before:?}", self.context, self.rule);
        let task = Task {
            stage,
            context: context.clone(),
            constraint,
            similarity,
            threshold: DISTILL_THRESHOLD,
            schedule: self.schedule.clone(),
        };
        let file = self.folder.join(format!("search-{stage}.json"));
        let mut search = Search::new(task)?;
        // A memo that another search left is neither used nor harmful.
        if let Some(memo) = read(&file)?.filter(|memo| memo.context() == context) {
            search = search.resume(memo)?;
        }
        let mut answers = Answers { searches: self, stage, before, calibrator };
        let (mut written, mut last) = (0, Instant::now());
        let found = search.run(&mut answers, |step| {
            progress(&step);
            // Each loss costs a pass, so measured losses are saved.
            if step.memo.samples() > written && last.elapsed() >= WRITTEN_EVERY {
                (written, last) = (step.memo.samples(), Instant::now());
                write(&file, step.memo);
            }
        });
        write(&file, search.memo());
        let outcome: Outcome = found?;
        let log = StageLog { dense: Some(dense), ..outcome.log };
        Ok(Found { removed: outcome.removed, log: Some(log) })
    }

    /// The roles of prompts and answers when `removed` is tried for `stage`.
    fn roles(&self, stage: StageKind, layers: usize, removed: BlockSet, before: BlockSet) -> (Roles, Roles) {
        roles(
            self.rule,
            layers,
            match stage {
                StageKind::Prefill => removed,
                StageKind::Decode => before,
            },
            match (stage, self.rule) {
                // Decode will leave out every block that prefill does.
                (StageKind::Prefill, Rule::Subset) => removed,
                (StageKind::Prefill, Rule::Relaxed) => BlockSet::EMPTY,
                (StageKind::Decode, _) => removed,
            },
        )
    }
}

/// The roles of prompts and answers, without repairs.
pub fn roles(rule: Rule, layers: usize, prefill: BlockSet, decode: BlockSet) -> (Roles, Roles) {
    let without = Roles::without(layers, prefill.iter());
    let prompts = match rule {
        Rule::Subset => without,
        Rule::Relaxed => without.with(prefill.difference(decode).iter(), BlockRole::KeysAndValues { tensor: None }),
    };
    (prompts, Roles::without(layers, decode.iter()))
}

fn read(file: &Path) -> anyhow::Result<Option<Memo>> {
    match std::fs::read(file) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

/// Saves the memo. A search that cannot save it still finishes; after an interruption it would start from the
/// beginning.
fn write(file: &Path, memo: &Memo) {
    let written = serde_json::to_vec(memo).map_err(anyhow::Error::from).and_then(|bytes| {
        let next = file.with_extension("part");
        std::fs::write(&next, bytes)?;
        Ok(std::fs::rename(&next, file)?)
    });
    if let Err(error) = written {
        tracing::warn!(file = %file.display(), %error, "cannot keep what the search has measured");
    }
}
