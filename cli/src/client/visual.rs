//! The visual pruning to ask for, as a flag.

use std::fmt;

/// The visual pruning to ask for. The method's name is not checked here: the router knows which methods exist.
#[derive(Clone, Debug, PartialEq)]
pub struct Visual {
    /// Name of the method.
    pub method: String,
    /// Share of visual tokens kept; `None` leaves the choice to the router.
    pub keep: Option<f64>,
}

impl fmt::Display for Visual {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.keep {
            Some(keep) => write!(out, "{}:{keep}", self.method),
            None => out.write_str(&self.method),
        }
    }
}

/// Parses `METHOD` or `METHOD:KEEP`.
pub fn parse_visual(text: &str) -> Result<Visual, String> {
    let (method, keep) = match text.split_once(':') {
        Some((method, keep)) => (method, Some(keep)),
        None => (text, None),
    };
    let in_range = |keep: &str| keep.parse().ok().filter(|keep: &f64| *keep > 0.0 && *keep <= 1.0);
    let keep = match keep.map(in_range) {
        None => None,
        Some(Some(keep)) => Some(keep),
        Some(None) => return Err("KEEP must be a number above 0 and at most 1".to_owned()),
    };
    if method.is_empty() {
        return Err("must begin with a method, such as trimtokenator or none".to_owned());
    }
    Ok(Visual { method: method.to_owned(), keep })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_may_have_a_share() {
        let found = parse_visual("trimtokenator:0.25").unwrap();
        assert_eq!(found, Visual { method: "trimtokenator".to_owned(), keep: Some(0.25) });
        assert_eq!(found.to_string(), "trimtokenator:0.25");
        assert_eq!(parse_visual("none").unwrap().to_string(), "none");
        for wrong in ["none:1.5", "none:0", "none:x", "", ":0.5"] {
            assert!(parse_visual(wrong).is_err(), "{wrong}");
        }
    }
}
