//! The results of all combinations, and the cases that they were measured on.

use std::path::Path;

use super::{
    arguments::EvalArguments,
    combination::Combination,
    combination_run::{Measured, Refused},
    figures::Row,
    group::{self, Group, Kind},
};
use crate::suite::Case;

/// The results, and the cases that they were measured on.
pub struct Findings<'a> {
    pub(super) arguments: &'a EvalArguments,
    pub(super) suite: &'a Path,
    pub(super) cases: &'a [Case],
    pub groups: Vec<Group>,
    /// The model's name, as the router reports it.
    pub model: String,
    pub measured: Vec<Measured>,
    pub refused: Vec<Refused>,
}

impl<'a> Findings<'a> {
    /// Findings without any results yet.
    pub fn new(arguments: &'a EvalArguments, suite: &'a Path, cases: &'a [Case]) -> Findings<'a> {
        let groups = group::of(cases);
        let (measured, refused) = (Vec::new(), Vec::new());
        Findings { arguments, suite, cases, groups, model: String::new(), measured, refused }
    }

    /// Whether there are results to print.
    pub fn has_any(&self) -> bool {
        !self.measured.is_empty() || !self.refused.is_empty()
    }

    /// Number of requests without an answer.
    pub fn failed(&self) -> usize {
        let outcomes = self.measured.iter().flat_map(|measured| &measured.outcomes);
        outcomes.filter(|outcome| outcome.has_failed()).count()
    }

    /// The combination that all others are compared with.
    pub fn reference(&self) -> Option<&Measured> {
        let reference = Combination::reference();
        self.measured.iter().find(|measured| measured.combination == reference)
    }

    /// The row of one combination for a group.
    pub fn row(&self, measured: &Measured, group: &Group) -> Row {
        Row::of(measured, self.reference(), group)
    }

    /// A short description of the measurement that a setting is based on.
    pub fn evidence(&self, combination: &Combination) -> String {
        let measured = self.measured.iter().find(|measured| measured.combination == *combination);
        let all = self.groups.iter().find(|group| group.kind == Kind::All);
        measured.zip(all).map_or_else(String::new, |(measured, all)| evidence(&self.row(measured, all), self.suite))
    }
}

/// A short description of the measurement that a setting is based on.
fn evidence(row: &Row, suite: &Path) -> String {
    let figures = &row.figures;
    let kl = figures.kl.as_ref().map_or(0.0, |kl| kl.kl);
    let same = figures.same.as_ref().map_or(0.0, |same| 100.0 * same.same);
    let suite = suite.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{same:.0}% of {} answers the same as dense, KL {kl:.4} nats ({suite}, {})", figures.n, today())
}

fn today() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d").to_string()
}
