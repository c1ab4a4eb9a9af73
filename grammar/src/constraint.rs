//! One answer's state: which tokens may follow.

use std::sync::Arc;

use llguidance::{Matcher, TokenParser};

use crate::GrammarError;

/// A compiled grammar and how far an answer has come in it.
pub struct Constraint {
    matcher: Matcher,
    /// The token that the parser ends with, and all others that may stand in its place.
    ends: Arc<[u32]>,
}

impl Clone for Constraint {
    fn clone(&self) -> Self {
        Self { matcher: self.matcher.deep_clone(), ends: self.ends.clone() }
    }
}

impl std::fmt::Debug for Constraint {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Constraint").field("stopped", &self.matcher.is_stopped()).finish_non_exhaustive()
    }
}

impl Constraint {
    pub(crate) fn new(parser: TokenParser, end: u32, stops: &[u32]) -> Constraint {
        let ends = std::iter::once(end).chain(stops.iter().copied()).collect();
        Constraint { matcher: Matcher::new(Ok(parser)), ends }
    }

    /// Whether some token may follow. A grammar that describes no text at all shows it in front of its first token.
    pub(crate) fn can_begin(&mut self) -> Result<bool, GrammarError> {
        match self.matcher.compute_mask_or_eos() {
            Ok(mask) => Ok(!mask.is_zero()),
            // The parser's word for it.
            Err(error) if error.to_string().contains("NoExtensionBias") => Ok(false),
            Err(error) => Err(GrammarError::Grammar(plain(&error))),
        }
    }

    /// Makes the logits of all tokens that may not follow negative infinity. Tokens that end an answer are allowed where
    /// the answer is complete.
    pub fn apply(&mut self, logits: &mut [f32]) -> Result<(), GrammarError> {
        let mask = self.matcher.compute_mask_or_eos().map_err(|error| GrammarError::Complex(plain(&error)))?;
        let may_end = self.ends.first().is_some_and(|&end| mask.is_allowed(end));
        let words = mask.as_slice();
        for (chunk, logits) in logits.chunks_mut(32).enumerate() {
            let word = words.get(chunk).copied().unwrap_or(0);
            if word == u32::MAX {
                continue;
            }
            for (bit, logit) in logits.iter_mut().enumerate() {
                let token = (chunk * 32 + bit) as u32;
                let is_allowed = word >> bit & 1 == 1 || may_end && self.ends.contains(&token);
                if !is_allowed {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        Ok(())
    }

    /// Takes note of the answer's next token. One that ends the answer changes nothing.
    pub fn accept(&mut self, token: u32) -> Result<(), GrammarError> {
        if self.ends.contains(&token) {
            return Ok(());
        }
        self.matcher.consume_token(token).map_err(|error| {
            let text = plain(&error);
            // Everything else that goes wrong here is a bound that the parser has.
            let is_left = ["satisfy the grammar", "out of range", "mismatch"].iter().any(|word| text.contains(word));
            if is_left { GrammarError::Left(text) } else { GrammarError::Complex(text) }
        })
    }
}

/// The text of an error of the parser, without its mark for what it leaves out.
fn plain(error: &impl std::fmt::Display) -> String {
    error.to_string().trim_end_matches("<non-verbose/>").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use crate::{Grammar, vocabulary::tests::vocabulary};

    /// An answer of random allowed tokens; `None` where it did not end.
    fn answer(grammar: &Grammar, seed: u64, limit: usize) -> Option<String> {
        let (vocabulary, bytes) = vocabulary();
        let end = bytes.len() - 1;
        let mut constraint = vocabulary.compile(grammar, &[]).unwrap();
        let (mut text, mut state) = (Vec::new(), seed | 1);
        for _ in 0..limit {
            let mut logits = vec![0.0; bytes.len()];
            constraint.apply(&mut logits).unwrap();
            let allowed: Vec<usize> = (0..logits.len()).filter(|&token| logits[token] == 0.0).collect();
            assert!(!allowed.is_empty(), "{}", String::from_utf8_lossy(&text));
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Ends as soon as it may: random texts would seldom end by themselves.
            let token = if allowed.contains(&end) { end } else { allowed[(state >> 33) as usize % allowed.len()] };
            if token == end {
                return Some(String::from_utf8(text).unwrap());
            }
            constraint.accept(token as u32).unwrap();
            text.extend_from_slice(&bytes[token]);
        }
        None
    }

    #[test]
    fn one_of_the_choices_is_said() {
        let choices = Grammar::choice(["yes", "no", "may\"be\n"]);
        let said: Vec<String> = (0..40).filter_map(|seed| answer(&choices, seed * 7_919, 64)).collect();
        assert!(said.iter().all(|text| ["yes", "no", "may\"be\n"].contains(&text.as_str())), "{said:?}");
        assert!(said.iter().any(|text| text == "yes") && said.iter().any(|text| text != "yes"), "{said:?}");
    }

    #[test]
    fn an_answer_goes_on_elsewhere_by_its_tokens() {
        let (vocabulary, bytes) = vocabulary();
        let grammar = Grammar::JsonSchema(
            json!({"type": "object", "properties": {"name": {"type": "boolean"}},
            "required": ["name"], "additionalProperties": false})
            .to_string(),
        );
        let mut here = vocabulary.compile(&grammar, &[]).unwrap();
        let mut elsewhere = vocabulary.compile(&grammar, &[]).unwrap();
        for byte in b"{\"name\": t" {
            here.accept(u32::from(*byte)).unwrap();
            elsewhere.accept(u32::from(*byte)).unwrap();
        }
        let (mut one, mut other) = (vec![0.0; bytes.len()], vec![0.0; bytes.len()]);
        here.clone().apply(&mut one).unwrap();
        elsewhere.apply(&mut other).unwrap();
        assert_eq!(one, other);
        assert_eq!(one[usize::from(b'r')], 0.0);
        assert!(one[usize::from(b'x')].is_infinite());
        assert!(here.accept(u32::from(b'x')).is_err());
    }

    #[test]
    fn a_grammar_that_branches_too_widely_says_so() {
        let (vocabulary, _) = vocabulary();
        let names: serde_json::Map<_, _> = (0..700).map(|at| (format!("p{at}"), json!({"type": "string"}))).collect();
        let schema = json!({"type": "object", "properties": names}).to_string();
        let mut constraint = vocabulary.compile(&Grammar::JsonSchema(schema), &[]).unwrap();
        let error = constraint.accept(u32::from(b'{')).unwrap_err();
        assert!(matches!(&error, GrammarError::Complex(text) if text.contains("max")), "{error}");
        let mut strict = vocabulary.compile(&Grammar::regex("ab"), &[]).unwrap();
        assert!(matches!(strict.accept(u32::from(b'b')), Err(GrammarError::Left(_))));
        let endless = Grammar::Lark("start: start".into());
        assert_eq!(vocabulary.compile(&endless, &[]).unwrap_err().to_string(), "no text satisfies it");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn answers_are_what_the_schema_describes(seed: u64) {
            let schema = json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 3, "maximum": 40},
                "kind": {"enum": ["a", "b"]}, "list": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2}},
                "required": ["n", "kind", "list"], "additionalProperties": false});
            if let Some(text) = answer(&Grammar::JsonSchema(schema.to_string()), seed, 400) {
                let value: Value = serde_json::from_str(&text).unwrap();
                let n = value["n"].as_i64().unwrap();
                prop_assert!((3..=40).contains(&n), "{text}");
                prop_assert!(["a", "b"].contains(&value["kind"].as_str().unwrap()));
                prop_assert!(value["list"].as_array().unwrap().len() <= 2);
            }
        }

        #[test]
        fn answers_match_the_expression(seed: u64) {
            if let Some(text) = answer(&Grammar::Regex("[a-c]{2,4}-[0-9]+".into()), seed, 64) {
                let (letters, digits) = text.split_once('-').unwrap();
                prop_assert!((2..=4).contains(&letters.len()) && !digits.is_empty(), "{text}");
            }
        }
    }
}
