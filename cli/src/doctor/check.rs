//! One thing that was looked at.

use serde::Serialize;

/// Whether it is well, what was found, and what to do; names and meaning as in the documented JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// Whether it is well.
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// What to do; empty: nothing.
    pub advice: String,
}

impl Check {
    /// Well.
    pub fn ok(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self { name: name.into(), ok: true, found: found.into(), advice: String::new() }
    }

    /// Not well, and what to do.
    pub fn failed(name: impl Into<String>, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name: name.into(), ok: false, found: found.into(), advice: advice.into() }
    }

    /// With something to do, or to know, all the same.
    pub fn with_advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }
}
