//! Answers that are not what was expected, listed so that their causes can be found.

use std::fmt;

use serde::Serialize;

use super::{
    case_run::{Answer, Outcome},
    combination_run::Measured,
};
use crate::suite::Case;

/// Most characters shown of an answer's text.
const CHARS_MAX: usize = 300;

/// One wrong answer.
#[derive(Debug, PartialEq, Serialize)]
pub struct Wrong<'a> {
    visual: String,
    transfer: &'a str,
    id: &'a str,
    tags: &'a [String],
    /// Name of the match: `exact`, `contains`, `regex`; `same` if the answer must equal the reference's.
    #[serde(rename = "match")]
    how: &'static str,
    expected: &'a str,
    /// The answer; null if the request failed.
    answer: Option<&'a str>,
}

/// All wrong answers, by combination. In a case without an expected answer, an answer that differs from the reference's
/// is wrong.
pub fn all<'a>(cases: &'a [Case], measured: &'a [Measured], reference: Option<&'a Measured>) -> Vec<Wrong<'a>> {
    let of = |measured: &'a Measured| {
        let outcomes = cases.iter().zip(&measured.outcomes).enumerate();
        outcomes.filter_map(move |(index, (case, outcome))| {
            let reference = reference.and_then(|reference| reference.outcomes[index].answer());
            let (how, expected) = unmet(case, outcome, reference)?;
            Some(Wrong {
                visual: measured.combination.visual.to_string(),
                transfer: &measured.combination.transfer,
                id: &case.id,
                tags: &case.tags,
                how,
                expected,
                answer: outcome.answer().map(|answer| answer.text.as_str()),
            })
        })
    };
    measured.iter().flat_map(of).collect()
}

fn unmet<'a>(case: &'a Case, outcome: &Outcome, reference: Option<&'a Answer>) -> Option<(&'static str, &'a str)> {
    match (&case.answer, reference, outcome.answer()) {
        (Some(_), _, Some(answer)) if answer.is_right == Some(true) => None,
        (Some(expected), _, _) => Some((expected.name(), expected.text())),
        (None, Some(reference), Some(answer)) if answer.text == reference.text => None,
        (None, Some(reference), _) => Some(("same", &reference.text)),
        (None, None, Some(_)) => None,
        (None, None, None) => Some(("same", "")),
    }
}

impl fmt::Display for Wrong<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = |text: &str| {
            let cut: String = text.chars().take(CHARS_MAX).collect();
            if cut.len() < text.len() { format!("{cut:?} and more") } else { format!("{cut:?}") }
        };
        write!(out, "wrong: {}, {}: {} ({}): ", self.visual, self.transfer, self.id, self.tags.join(", "))?;
        write!(out, "{} {} expected, ", self.how, cut(self.expected))?;
        match self.answer {
            Some(answer) => write!(out, "{} answered", cut(answer)),
            None => write!(out, "no answer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::{combination::Combination, tests};

    #[test]
    fn what_is_not_as_expected_is_told() {
        let open = Case { id: "open".to_owned(), answer: None, ..tests::case(&["code"], None) };
        let cases = [Case { id: "fact".to_owned(), ..tests::case(&["text"], None) }, open];
        let answered = |text: &str, is_right| {
            Outcome::Answered(Box::new(Answer { text: text.to_owned(), is_right, ..Answer::default() }))
        };
        let dense = Measured {
            combination: Combination::reference(),
            outcomes: vec![answered("a", Some(true)), answered("def f", None)],
        };
        let tiered = Measured {
            combination: Combination { transfer: "tiered".to_owned(), ..Combination::reference() },
            outcomes: vec![answered("b", Some(false)), answered("def g", None)],
        };
        let measured = [dense.clone(), tiered.clone()];
        let lines: Vec<String> = all(&cases, &measured, Some(&measured[0])).iter().map(ToString::to_string).collect();
        let expected = [
            "wrong: none, tiered: fact (text): exact \"a\" expected, \"b\" answered",
            "wrong: none, tiered: open (code): same \"def f\" expected, \"def g\" answered",
        ];
        assert_eq!(lines, expected);
        let failed = [Measured { outcomes: vec![Outcome::Failed, answered("x", None)], ..tiered }];
        let lines = all(&cases, &failed, None);
        assert!(lines.len() == 1 && lines[0].to_string().ends_with("no answer"));
        assert!(serde_json::to_value(&lines).unwrap()[0]["answer"].is_null());
    }
}
