//! One word of the list after `--transfer`.

use std::str::FromStr;

use secateur_transfer::{TransferPolicy, policy::UnknownPolicy};

/// One word of the list after `--transfer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Every possible policy.
    All,
    /// A single policy.
    One(TransferPolicy),
}

impl FromStr for Asked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => Ok(Asked::All),
            _ => text.parse().map(Asked::One).map_err(|error: UnknownPolicy| format!("{error}; or all")),
        }
    }
}
