//! One answer's state: which tokens may follow.

use std::sync::Arc;

use llguidance::{
    Matcher, TokenParser,
    toktrie::{SimpleVob, TokTrie},
};

use crate::GrammarError;

/// Most tokens in a row that are accepted without a mask. A mask gives the parser its means (steps of its lexer) anew; so
/// many tokens use a small part of them.
const UNMASKED_MAX: u32 = 8;

/// A compiled grammar and how far an answer has come in it.
pub struct Constraint {
    matcher: Matcher,
    /// The token that the parser ends with, and all others that may stand in its place.
    ends: Arc<[u32]>,
    /// The tokens that may follow the answer so far; `None` until they are asked for.
    mask: Option<Result<SimpleVob, GrammarError>>,
    /// Tokens that were accepted since the last mask.
    unmasked: u32,
}

impl Clone for Constraint {
    fn clone(&self) -> Self {
        let Self { matcher, ends, mask, unmasked } = self;
        Self { matcher: matcher.deep_clone(), ends: ends.clone(), mask: mask.clone(), unmasked: *unmasked }
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
        Constraint { matcher: Matcher::new(Ok(parser)), ends, mask: None, unmasked: 0 }
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

    /// Works out which tokens may follow, so that [`Constraint::apply`] has it at hand. It needs the answer's tokens so far
    /// and no logits, so it may run while those are computed.
    pub fn prepare(&mut self) {
        // An error is kept, and returned by `apply`.
        let _ = self.mask();
    }

    /// Whether the next token will be judged by a whole mask, whatever [`Constraint::certainly_allows`] is asked.
    pub fn needs_mask(&self) -> bool {
        self.unmasked >= UNMASKED_MAX
    }

    /// Whether `token` may follow, as far as that can be told without the tokens beside it, which takes a fraction of the
    /// time. It may also follow where this is false: that is for [`Constraint::apply`] to say.
    pub fn certainly_allows(&mut self, token: u32) -> bool {
        if self.ends.contains(&token) {
            return false;
        }
        if let Some(mask) = &self.mask {
            return mask.as_ref().is_ok_and(|mask| (token as usize) < mask.len() && mask.is_allowed(token));
        }
        if self.needs_mask() || !self.is_spelled(token) {
            return false;
        }
        self.matcher.validate_tokens(&[token]).is_ok_and(|valid| valid == 1)
    }

    /// Whether `token` is the one by which masks know its bytes: not one of several with the same, nor one without.
    fn is_spelled(&self, token: u32) -> bool {
        let Ok(tokens) = self.matcher.tok_env() else { return false };
        let tokens = tokens.tok_trie();
        let bytes = tokens.token(token);
        let is_text = bytes.first().is_some_and(|first| *first != TokTrie::SPECIAL_TOKEN_MARKER);
        is_text && tokens.token_id_at_bytes(bytes) == Some(token)
    }

    /// Makes the logits of all tokens that may not follow negative infinity. Tokens that end an answer are allowed where
    /// the answer is complete.
    pub fn apply(&mut self, logits: &mut [f32]) -> Result<(), GrammarError> {
        let ends = self.ends.clone();
        let mask = self.mask()?;
        let may_end = ends.first().is_some_and(|&end| mask.is_allowed(end));
        let logit_of = |&end: &u32| Some((end, *logits.get(end as usize)?));
        let kept: Vec<(u32, f32)> = if may_end { ends.iter().filter_map(logit_of).collect() } else { Vec::new() };
        let words = mask.as_slice();
        for (chunk, logits) in logits.chunks_mut(32).enumerate() {
            match words.get(chunk).copied().unwrap_or(0) {
                u32::MAX => {}
                0 => logits.fill(f32::NEG_INFINITY),
                word => {
                    let banned = logits.iter_mut().enumerate().filter(|(bit, _)| word >> bit & 1 == 0);
                    banned.for_each(|(_, logit)| *logit = f32::NEG_INFINITY);
                }
            }
        }
        for (end, logit) in kept {
            logits[end as usize] = logit;
        }
        Ok(())
    }

    /// Takes note of the answer's next token. One that ends the answer changes nothing.
    pub fn accept(&mut self, token: u32) -> Result<(), GrammarError> {
        if self.ends.contains(&token) {
            return Ok(());
        }
        self.mask = None;
        self.matcher.consume_token(token).map_err(|error| {
            let text = plain(&error);
            // Everything else that goes wrong here is a bound that the parser has.
            let is_left = ["satisfy the grammar", "out of range", "mismatch"].iter().any(|word| text.contains(word));
            if is_left { GrammarError::Left(text) } else { GrammarError::Complex(text) }
        })?;
        self.unmasked += 1;
        // The tokens of an answer that goes on elsewhere come without a draw between them.
        if self.unmasked > UNMASKED_MAX {
            self.prepare();
        }
        Ok(())
    }

    fn mask(&mut self) -> Result<&SimpleVob, GrammarError> {
        let Self { matcher, mask, unmasked, .. } = self;
        let known = mask.get_or_insert_with(|| {
            *unmasked = 0;
            matcher.compute_mask_or_eos().map_err(|error| GrammarError::Complex(plain(&error)))
        });
        known.as_ref().map_err(Clone::clone)
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

    use crate::{Grammar, GrammarError, vocabulary::tests::vocabulary};

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

    /// Every state of an answer of random tokens: what is certainly allowed is in the mask, and of ordinary tokens nothing
    /// else is.
    fn certain_as_masked(grammar: &Grammar, seed: u64) {
        let (vocabulary, bytes) = vocabulary();
        let end = bytes.len() - 1;
        let is_end = |token: usize| token == end || token == 7;
        let is_ordinary = |token: usize| bytes.iter().filter(|other| **other == bytes[token]).count() == 1;
        let mut constraint = vocabulary.compile(grammar, &[7]).unwrap();
        let mut state = seed | 1;
        for _ in 0..60 {
            let (mut logits, mut masked) = (vec![0.0; bytes.len()], constraint.clone());
            masked.apply(&mut logits).unwrap();
            for (token, logit) in logits.iter().enumerate() {
                let is_masked = *logit == 0.0;
                let is_certain = constraint.certainly_allows(token as u32);
                assert!(is_masked || !is_certain, "{token}");
                let is_due = is_masked && is_ordinary(token) && !is_end(token) && !constraint.needs_mask();
                assert!(is_certain || !is_due, "{token}");
                assert_eq!(masked.certainly_allows(token as u32), is_masked && !is_end(token), "by the mask itself");
            }
            assert!(!constraint.certainly_allows(1 << 20), "beyond the vocabulary");
            let allowed: Vec<usize> = (0..end).filter(|&token| logits[token] == 0.0 && !is_end(token)).collect();
            if allowed.is_empty() {
                return;
            }
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if constraint.needs_mask() {
                constraint.prepare();
            }
            constraint.accept(allowed[(state >> 33) as usize % allowed.len()] as u32).unwrap();
        }
    }

    #[test]
    fn a_mask_is_the_same_whenever_it_is_made() {
        let (vocabulary, bytes) = vocabulary();
        let grammar = Grammar::JsonSchema(json!({"type": "array", "items": {"type": "string"}}).to_string());
        let mut at_once = vocabulary.compile(&grammar, &[3]).unwrap();
        let mut before = at_once.clone();
        for byte in b"[\"a b\", \"c\"]" {
            before.prepare();
            before.prepare();
            let logits = |constraint: &mut crate::Constraint| {
                let mut logits: Vec<f32> = (0..bytes.len()).map(|token| token as f32).collect();
                constraint.apply(&mut logits).unwrap();
                logits
            };
            assert_eq!(logits(&mut before), logits(&mut at_once));
            before.accept(u32::from(*byte)).unwrap();
            at_once.accept(u32::from(*byte)).unwrap();
        }
        let mut logits = vec![0.0; bytes.len()];
        before.apply(&mut logits).unwrap();
        let allowed: Vec<usize> = (0..bytes.len()).filter(|&token| logits[token] == 0.0).collect();
        assert_eq!(allowed, [3, bytes.len() - 1], "what is complete ends, by any of its ends");
    }

    #[test]
    fn a_long_answer_that_goes_on_elsewhere_is_taken_whole() {
        let (vocabulary, bytes) = vocabulary();
        // Each character makes new states of the lexer, so that its means end if they are never renewed.
        let grammar = "(?:[a-z ]{0,9000}|[a-y ]{0,9000}z?|[b-z ]{0,8000}a|(?:[a-z]{2} ?){0,9000})";
        let mut constraint = vocabulary.compile(&Grammar::Regex(grammar.into()), &[]).unwrap();
        for at in 0..8_900u32 {
            let token = if at % 9 == 8 { b' ' } else { b'a' + ((at * 7 + at / 13) % 20) as u8 };
            constraint.accept(u32::from(token)).unwrap_or_else(|error| panic!("{at}: {error}"));
        }
        let mut logits = vec![0.0; bytes.len()];
        constraint.apply(&mut logits).unwrap();
        assert_eq!(logits[usize::from(b'a')], 0.0);
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
        fn what_is_certainly_allowed_is_in_the_mask(seed: u64) {
            let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}, "name": {"type": "string"}},
                "required": ["n", "name"], "additionalProperties": false});
            certain_as_masked(&Grammar::JsonSchema(schema.to_string()), seed);
            certain_as_masked(&Grammar::Regex("[a-cé]{2,4}-[0-9]*".into()), seed);
            certain_as_masked(&Grammar::choice(["yes", "no", "maybe\n"]), seed);
        }

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
