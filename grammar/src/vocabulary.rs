//! The bytes of every token, and grammars compiled against them.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use llguidance::{
    ParserFactory,
    api::TopLevelGrammar,
    token_bytes_from_tokenizer_json,
    toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie},
};
use serde_json::Value;

use crate::{Constraint, Grammar, GrammarError};

/// Levels of nesting and productions are bounded by llguidance's defaults; this bounds what is parsed at all, in bytes.
const SOURCE_MAX: usize = 1 << 20;

/// States of a grammar's lexer, each one or two KiB of memory.
const LEXER_STATES_MAX: usize = 50_000;

/// The tokens of a checkpoint, ready for grammars. Clones share them.
#[derive(Clone)]
pub struct Vocabulary {
    factory: Arc<ParserFactory>,
    /// The token that ends an answer.
    end: u32,
}

impl std::fmt::Debug for Vocabulary {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Vocabulary").field("end", &self.end).finish_non_exhaustive()
    }
}

impl Vocabulary {
    /// The vocabulary of a `tokenizer.json`, byte-level or with byte fallback. `end` is the token by which the model ends
    /// an answer.
    pub fn of_tokenizer(tokenizer: &Value, end: Option<u32>) -> Result<Vocabulary, GrammarError> {
        let bytes = contained(|| token_bytes_from_tokenizer_json(tokenizer).map_err(|error| error.to_string()))
            .map_err(GrammarError::Tokenizer)?;
        Vocabulary::of_bytes(bytes, end)
    }

    /// The vocabulary whose n-th token has the n-th bytes. Tokens without bytes are never allowed.
    fn of_bytes(bytes: Vec<Vec<u8>>, end: Option<u32>) -> Result<Vocabulary, GrammarError> {
        let Some(end) = end.filter(|&end| (end as usize) < bytes.len()) else {
            return Err(GrammarError::Tokenizer("none of its tokens ends an answer".to_owned()));
        };
        let build = || {
            let info = TokRxInfo::new(bytes.len() as u32, end);
            let env: TokEnv = Arc::new(ApproximateTokEnv::new(TokTrie::from(&info, &bytes)));
            let mut factory = ParserFactory::new_simple(&env).map_err(|error| error.to_string())?;
            let limits = factory.quiet().limits_mut();
            (limits.verbose_errors, limits.max_lexer_states) = (false, LEXER_STATES_MAX);
            Ok(factory)
        };
        let factory = contained(build).map_err(GrammarError::Tokenizer)?;
        Ok(Vocabulary { factory: Arc::new(factory), end })
    }

    /// Compiles a grammar: time and memory are bounded, and what exceeds the bounds or cannot be compiled is an error that
    /// says why. `stops` are further tokens that may end an answer which is complete.
    pub fn compile(&self, grammar: &Grammar, stops: &[u32]) -> Result<Constraint, GrammarError> {
        let (Grammar::JsonSchema(source) | Grammar::Regex(source) | Grammar::Lark(source)) = grammar;
        if source.len() > SOURCE_MAX {
            let text = format!("it has {} bytes, more than the limit of {SOURCE_MAX}", source.len());
            return Err(GrammarError::Grammar(text));
        }
        let parser = contained(|| {
            let grammar = match grammar {
                Grammar::JsonSchema(schema) => {
                    let schema = serde_json::from_str(schema).map_err(|error| format!("it is not JSON: {error}"))?;
                    TopLevelGrammar::from_json_schema(schema)
                }
                Grammar::Regex(regex) => TopLevelGrammar::from_regex(regex),
                Grammar::Lark(lark) => TopLevelGrammar::from_lark(lark.clone()),
            };
            self.factory.create_parser(grammar).map_err(|error| error.to_string())
        });
        let mut constraint = Constraint::new(parser.map_err(GrammarError::Grammar)?, self.end, stops);
        if !constraint.can_begin()? {
            return Err(GrammarError::Grammar("no text satisfies it".to_owned()));
        }
        Ok(constraint)
    }
}

/// The text of a panic is not for clients, and an error of the same kind is all that can be said of it.
fn contained<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("it cannot be compiled".to_owned()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Every byte, some words, and the end as the last token.
    pub(crate) fn vocabulary() -> (Vocabulary, Vec<Vec<u8>>) {
        let mut bytes: Vec<Vec<u8>> = (0..=255u8).map(|byte| vec![byte]).collect();
        let words = ["\"name\"", "{\"", "\": ", "true", "false", "null", "  ", "yes", "no", "maybe", "12", "\"}"];
        bytes.extend(words.map(|word| word.as_bytes().to_vec()));
        bytes.push(b"\xff<|end|>".to_vec());
        let end = bytes.len() as u32 - 1;
        (Vocabulary::of_bytes(bytes.clone(), Some(end)).unwrap(), bytes)
    }

    #[test]
    fn what_cannot_be_compiled_says_why() {
        let (vocabulary, _) = vocabulary();
        let refused = |grammar: Grammar| vocabulary.compile(&grammar, &[]).unwrap_err().to_string();
        assert!(refused(Grammar::JsonSchema("{".into())).contains("not JSON"));
        let unknown = refused(Grammar::JsonSchema(r#"{"type": "thing"}"#.into()));
        assert!(unknown.contains("thing"), "{unknown}");
        assert!(!refused(Grammar::Regex("(".into())).is_empty());
        assert!(!refused(Grammar::Lark("start: missing".into())).is_empty());
        assert!(refused(Grammar::Regex("x".repeat(SOURCE_MAX + 1))).contains("limit"));
        let endless = r##"{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}"##;
        assert!(vocabulary.compile(&Grammar::JsonSchema(endless.into()), &[]).is_err());
    }

    #[test]
    fn tokenizers_of_both_kinds_are_read_and_others_refused() {
        let byte_level = serde_json::json!({
            "decoder": {"type": "ByteLevel"}, "added_tokens": [{"id": 2, "content": "<end>", "special": true}],
            "model": {"vocab": {"a": 0, "Ġb": 1}},
        });
        assert!(Vocabulary::of_tokenizer(&byte_level, Some(2)).is_ok());
        assert!(Vocabulary::of_tokenizer(&byte_level, Some(7)).unwrap_err().to_string().contains("ends an answer"));
        let words = serde_json::json!({"decoder": {"type": "WordPiece"}, "added_tokens": [], "model": {"vocab": {}}});
        assert!(matches!(Vocabulary::of_tokenizer(&words, Some(0)), Err(GrammarError::Tokenizer(_))));
    }
}
