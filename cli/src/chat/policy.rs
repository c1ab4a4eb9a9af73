//! The policies that requests ask for, and the words that change them.

use std::fmt;

use secateur_transfer::TransferPolicy;
use serde_json::{Map, Value};

use crate::client::{
    extension,
    visual::{Visual, parse_visual},
};

/// The word that leaves a choice to the router.
const AUTO: &str = "auto";

/// The policies to ask for; `None` leaves a choice to the router.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// Visual pruning.
    pub visual: Option<Visual>,
    /// Transfer policy.
    pub transfer: Option<TransferPolicy>,
}

/// A change of one of them.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Asks for this visual pruning.
    Visual(Option<Visual>),
    /// Asks for this transfer policy.
    Transfer(Option<TransferPolicy>),
}

impl Change {
    /// Parses `visual=METHOD[:KEEP]` or `transfer=POLICY`.
    pub fn parse(word: &str) -> Result<Change, String> {
        match word.split_once('=') {
            Some(("visual", AUTO)) => Ok(Change::Visual(None)),
            Some(("visual", value)) => match parse_visual(value) {
                Ok(visual) => Ok(Change::Visual(Some(visual))),
                Err(why) => Err(format!("visual={value}: {why}")),
            },
            Some(("transfer", AUTO)) => Ok(Change::Transfer(None)),
            Some(("transfer", value)) => match value.parse() {
                Ok(policy) => Ok(Change::Transfer(Some(policy))),
                Err(why) => Err(format!("transfer={value}: {why}; or auto")),
            },
            _ => Err(format!("`{word}` is neither visual=METHOD[:KEEP] nor transfer=POLICY")),
        }
    }
}

impl Policy {
    /// Makes a change.
    pub fn change(&mut self, change: Change) {
        match change {
            Change::Visual(visual) => self.visual = visual,
            Change::Transfer(transfer) => self.transfer = transfer,
        }
    }

    /// The field `secateur` of a request; empty if every choice is the router's.
    pub fn extension(&self) -> Map<String, Value> {
        extension::of(self.visual.as_ref(), self.transfer)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let visual = self.visual.as_ref().map_or_else(|| AUTO.to_owned(), ToString::to_string);
        let transfer = self.transfer.map_or_else(|| AUTO.to_owned(), |policy| policy.to_string());
        write!(out, "visual {visual}, transfer {transfer}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_change_policies() {
        let mut policy = Policy::default();
        assert_eq!((policy.to_string().as_str(), policy.extension().len()), ("visual auto, transfer auto", 0));
        for word in ["visual=coverage:0.25", "transfer=small"] {
            policy.change(Change::parse(word).unwrap());
        }
        assert_eq!(policy.to_string(), "visual coverage:0.25, transfer small");
        assert_eq!(policy.extension().len(), 2);
        for word in ["visual=auto", "transfer=auto"] {
            policy.change(Change::parse(word).unwrap());
        }
        assert_eq!(policy, Policy::default());
    }

    #[test]
    fn a_wrong_word_is_named() {
        for wrong in ["visual", "visual=", "visual=none:2", "transfer=", "transfer=telepathy", "speed=high", "=x"] {
            assert!(Change::parse(wrong).unwrap_err().contains(wrong), "{wrong}");
        }
    }
}
