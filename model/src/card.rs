//! `secateur.json`: measurements and recommendations of a checkpoint's author. The file is optional.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::checkpoint::json;
use crate::error::{ModelError, Result};

/// The file's name in the checkpoint folder.
pub const CARD_FILE: &str = "secateur.json";
/// The only format version that this build reads.
const FORMAT: u32 = 1;

/// The content of `secateur.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Version of this file's format.
    pub format: u32,
    /// Recommended pruning of visual tokens for requests with one picture.
    #[serde(default)]
    pub visual: Option<VisualAdvice>,
    /// Recommended pruning of visual tokens for requests with several pictures.
    #[serde(default)]
    pub visual_several: Option<VisualAdvice>,
    /// Recommended precision of shipped KV.
    #[serde(default)]
    pub transfer: Option<TransferAdvice>,
    /// A picture question with a known answer.
    #[serde(default)]
    pub sample: Option<Sample>,
}

/// Recommended pruning of visual tokens, from measurement on this checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VisualAdvice {
    /// Method name as in the request extension, for example `trimtokenator`.
    pub method: String,
    /// Share of visual tokens kept, in (0, 1].
    pub keep: f64,
}

/// Recommended precision of shipped KV, from measurement on this checkpoint (`secateur eval --recommend`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransferAdvice {
    /// Approximate bits per value of the policy `tiered`: 2 to 10 in quarters.
    pub bits: f64,
    /// Short description of the measurement.
    pub evidence: String,
}

/// A picture question with a known answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Picture file, relative to the checkpoint folder.
    pub image: String,
    /// The question.
    pub prompt: String,
    /// The model's answer.
    pub answer: String,
}

impl Card {
    /// Reads the card of the checkpoint at `dir`; `None` where there is none.
    pub fn read(dir: &Path) -> Result<Option<Card>, ModelError> {
        let Some(dir) = secateur_gguf::companions(dir) else { return Ok(None) };
        let card: Option<Card> = json::read_optional(&dir.join(CARD_FILE))?;
        card.map(Card::check).transpose()
    }

    fn check(self) -> Result<Card> {
        if self.format != FORMAT {
            let problem = format!("format {} is not {FORMAT}, the one this build reads", self.format);
            return Err(ModelError::config("format", problem));
        }
        for (field, advice) in [("visual.keep", &self.visual), ("visual_several.keep", &self.visual_several)] {
            if let Some(keep) = advice.as_ref().map(|advice| advice.keep)
                && !(keep > 0.0 && keep <= 1.0)
            {
                return Err(ModelError::config(field, format!("{keep} is not in (0, 1]")));
            }
        }
        if let Some(TransferAdvice { bits, .. }) = &self.transfer
            && !((2.0..=10.0).contains(bits) && (bits * 4.0).fract() == 0.0)
        {
            return Err(ModelError::config("transfer.bits", format!("{bits} is not a multiple of 0.25 from 2 to 10")));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Card>> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(CARD_FILE), text).unwrap();
        Card::read(dir.path())
    }

    #[test]
    fn a_folder_without_a_card_is_fine() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Card::read(dir.path()).unwrap(), None);
    }

    #[test]
    fn advice_and_sample_are_read() {
        let card = read(
            r#"{"format":1,"visual":{"method":"trimtokenator","keep":0.5},
                "sample":{"image":"sample.png","prompt":"what?","answer":"that"}}"#,
        );
        let card = card.unwrap().unwrap();
        assert_eq!(card.visual.unwrap().keep, 0.5);
        assert_eq!(card.sample.unwrap().answer, "that");
    }

    #[test]
    fn precision_is_read_and_checked() {
        let of = |bits: f64| read(&format!(r#"{{"format":1,"transfer":{{"bits":{bits},"evidence":"why"}}}}"#));
        assert_eq!(of(5.25).unwrap().unwrap().transfer.map(|advice| advice.bits), Some(5.25));
        for wrong in [1.75, 10.5, 5.3] {
            assert!(matches!(of(wrong), Err(ModelError::Config { .. })));
        }
    }

    #[test]
    fn a_later_format_and_an_impossible_share_are_refused() {
        assert!(matches!(read(r#"{"format":2}"#), Err(ModelError::Config { .. })));
        for field in ["visual", "visual_several"] {
            let silly = format!(r#"{{"format":1,"{field}":{{"method":"none","keep":0}}}}"#);
            assert!(matches!(read(&silly), Err(ModelError::Config { .. })));
        }
    }
}
