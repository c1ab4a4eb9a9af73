//! The setting `--visual`: how pictures are pruned if a request does not choose. Without it, the checkpoint's card
//! decides.

use std::{fmt, str::FromStr};

use secateur_node::Identity;
use secateur_pruning::{VisualMethod, VisualPolicy};

/// Visual policies set for this node, for one picture and for several; `None`: what the checkpoint's card recommends.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NodeVisual {
    one: Option<VisualPolicy>,
    several: Option<VisualPolicy>,
}

impl NodeVisual {
    /// Replaces the card's recommendation in `identity` by the policies that were set.
    pub fn apply(self, identity: &mut Identity) {
        if let Some(policy) = self.one {
            identity.recommended_visual = policy;
        }
        if let Some(policy) = self.several {
            identity.recommended_visual_several = policy;
        }
    }
}

impl FromStr for NodeVisual {
    type Err = String;

    /// Parses `ONE[,SEVERAL]`, each `auto` or `METHOD[:KEEP]`; without SEVERAL, ONE is for both.
    fn from_str(text: &str) -> Result<Self, String> {
        let (one, several) = text.split_once(',').unwrap_or((text, text));
        let one = policy(one, VisualPolicy::PUBLISHED)?;
        Ok(Self { one, several: policy(several, VisualPolicy::PUBLISHED_SEVERAL)? })
    }
}

impl fmt::Display for NodeVisual {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |policy: Option<VisualPolicy>| match policy {
            None => "auto".to_owned(),
            Some(policy) if policy.method() == VisualMethod::None => policy.method().to_string(),
            Some(policy) => format!("{}:{}", policy.method(), policy.keep()),
        };
        if self.one == self.several {
            out.write_str(&word(self.one))
        } else {
            write!(out, "{},{}", word(self.one), word(self.several))
        }
    }
}

/// Parses `auto` (`None`) or `METHOD[:KEEP]`; without KEEP, the rate of `published` is used.
fn policy(text: &str, published: VisualPolicy) -> Result<Option<VisualPolicy>, String> {
    let text = text.trim();
    if text == "auto" {
        return Ok(None);
    }
    let (method, keep) = match text.split_once(':') {
        None => (text, published.keep()),
        Some((method, keep)) => {
            (method, keep.parse().map_err(|_| format!("`{keep}` is not the share of visual tokens to keep"))?)
        }
    };
    let method: VisualMethod = method.parse().map_err(|_| {
        let known = VisualMethod::ALL.map(VisualMethod::as_str).join(", ");
        format!("`{method}` is none of auto, {known}")
    })?;
    VisualPolicy::new(method, keep).map(Some).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::tests::identity;

    #[test]
    fn what_was_told_takes_the_cards_place() {
        let card = identity();
        let after = |text: &str| {
            let mut identity = card.clone();
            text.parse::<NodeVisual>().unwrap().apply(&mut identity);
            (identity.recommended_visual, identity.recommended_visual_several)
        };
        let policy = |method, keep| VisualPolicy::new(method, keep).unwrap();
        assert_eq!(after("auto"), (card.recommended_visual, card.recommended_visual_several));
        let trim = policy(VisualMethod::TrimTokenator, 0.9);
        assert_eq!(after("trimtokenator:0.9"), (trim, trim));
        assert_eq!(after("trimtokenator:0.9, auto"), (trim, card.recommended_visual_several));
        assert_eq!(after("auto,none"), (card.recommended_visual, VisualPolicy::KEEP_ALL));
        let rates = (policy(VisualMethod::Coverage, 1.0 / 9.0), policy(VisualMethod::Coverage, 0.2));
        assert_eq!(after("coverage"), rates, "the published rates");
    }

    #[test]
    fn it_is_printed_as_it_is_read() {
        for text in ["auto", "none", "trimtokenator:0.9,auto", "coverage:0.2", "auto,coverage:0.5", "none,auto"] {
            assert_eq!(text.parse::<NodeVisual>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, word) in [
            ("magic", "coverage"),
            ("coverage:x", "share"),
            ("coverage:0", "above 0"),
            ("auto,", "none of"),
            ("", "none of"),
        ] {
            let error = text.parse::<NodeVisual>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
