//! The result of one check.

use serde::Serialize;

/// Result of a check: verdict, finding and advice; names and meaning are those of the documented JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The thing that was examined.
    pub name: String,
    /// Whether the check passed.
    pub ok: bool,
    /// The finding.
    pub found: String,
    /// Recommended action; empty if there is none.
    pub advice: String,
}

impl Check {
    /// A passed check.
    pub fn ok(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self { name: name.into(), ok: true, found: found.into(), advice: String::new() }
    }

    /// A failed check with advice.
    pub fn failed(name: impl Into<String>, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name: name.into(), ok: false, found: found.into(), advice: advice.into() }
    }

    /// Adds advice to a check that passed.
    pub fn with_advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }
}
