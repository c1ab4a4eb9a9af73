//! Expected answers, and how answers are compared with them.

use clap::ValueEnum;
use regex::Regex;

/// The comparison of an answer with the expected one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Match {
    /// The same text, but for white space at its ends.
    #[default]
    Exact,
    /// The text stands in the answer, whatever the case of its letters and the white space between its words.
    Contains,
    /// The regular expression is found in the answer.
    Regex,
}

/// An expectation that can be checked.
#[derive(Clone, Debug)]
pub struct Expected {
    text: String,
    rule: Rule,
}

#[derive(Clone, Debug)]
enum Rule {
    Exact,
    Contains(String),
    Regex(Regex),
}

impl Match {
    /// The match with this name, which is the same in a suite as on the command line.
    pub fn named(name: &str) -> Option<Match> {
        Match::from_str(name, false).ok()
    }

    /// All names, separated by commas.
    pub fn names() -> String {
        let known = Self::value_variants().iter().filter_map(Match::to_possible_value);
        known.map(|value| value.get_name().to_owned()).collect::<Vec<_>>().join(", ")
    }
}

impl Expected {
    /// An expectation from a text and a kind of match; the error says why a regular expression is invalid.
    pub fn new(text: String, how: Match) -> Result<Expected, String> {
        let rule = match how {
            Match::Exact => Rule::Exact,
            Match::Contains => Rule::Contains(plain(&text)),
            Match::Regex => Rule::Regex(Regex::new(&text).map_err(|error| error.to_string())?),
        };
        Ok(Expected { text, rule })
    }

    /// The text in the suite.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Name of the kind of match.
    pub fn name(&self) -> &'static str {
        match self.rule {
            Rule::Exact => "exact",
            Rule::Contains(_) => "contains",
            Rule::Regex(_) => "regex",
        }
    }

    /// Whether an answer is right.
    pub fn is_met_by(&self, answer: &str) -> bool {
        match &self.rule {
            Rule::Exact => answer.trim() == self.text.trim(),
            Rule::Contains(part) => plain(answer).contains(part),
            Rule::Regex(regex) => regex.is_match(answer),
        }
    }
}

/// Lower case, with one space between words.
fn plain(text: &str) -> String {
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_is_met_as_it_says() {
        let is_met = |how: &str, text: &str, answer: &str| {
            Expected::new(text.to_owned(), Match::named(how).unwrap()).unwrap().is_met_by(answer)
        };
        assert!(is_met("exact", "red", " red\n") && !is_met("exact", "red", "red."));
        assert!(
            is_met("contains", "Grey  cupboard", "It is in the grey\ncupboard.") && !is_met("contains", "grey", "gray")
        );
        assert!(is_met("regex", r"\b42\b", "It is 42.") && !is_met("regex", r"\b42\b", "142"));
        assert!(Expected::new("(".to_owned(), Match::Regex).is_err());
        assert_eq!(Match::named("fuzzy"), None);
    }
}
