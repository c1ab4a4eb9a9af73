//! The bytes of every token, and grammars compiled against them.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use llguidance::{
    ParserFactory,
    api::TopLevelGrammar,
    toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie},
};
use serde_json::Value;

use crate::{Constraint, Grammar, GrammarError, Spelling, bounds, space::with_bounded_space};

/// Productions are bounded by llguidance's defaults, and what it does not bound by [`bounds`]; this bounds what is parsed
/// at all, in bytes.
const SOURCE_MAX: usize = 1 << 20;

/// Ids that a vocabulary may have; the largest ones today have a quarter of that.
const TOKENS_MAX: usize = 1 << 20;

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
    /// The vocabulary of a `tokenizer.json`. `end` is the token by which the model ends an answer.
    pub fn of_tokenizer(tokenizer: &Value, end: Option<u32>) -> Result<Vocabulary, GrammarError> {
        let spelling = Spelling::of_decoder(&tokenizer["decoder"]);
        let mut bytes: Vec<Vec<u8>> = Vec::new();
        let mut put = |id: usize, token: Vec<u8>| {
            if id < TOKENS_MAX {
                bytes.resize(bytes.len().max(id + 1), Vec::new());
                bytes[id] = token;
            }
        };
        match &tokenizer["model"]["vocab"] {
            // BPE and words: ids by token.
            Value::Object(ids) => ids.iter().for_each(|(token, id)| {
                id.as_u64().into_iter().for_each(|id| put(id as usize, spelling.bytes(token)));
            }),
            // Unigram: tokens with their scores, in the order of their ids.
            Value::Array(tokens) => tokens.iter().enumerate().for_each(|(id, token)| {
                token[0].as_str().into_iter().for_each(|token| put(id, spelling.bytes(token)));
            }),
            _ => return Err(GrammarError::Tokenizer("it has no vocabulary".to_owned())),
        }
        for added in tokenizer["added_tokens"].as_array().into_iter().flatten() {
            let (Some(id), Some(content)) = (added["id"].as_u64(), added["content"].as_str()) else { continue };
            // A special token is no text: what stands in front of it is in no grammar.
            let mark = (added["special"] == true).then_some(TokTrie::SPECIAL_TOKEN_MARKER);
            put(id as usize, mark.into_iter().chain(content.bytes()).collect());
        }
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
        let begin = || {
            let parser = self.factory.create_parser(read(grammar)?).map_err(|error| error.to_string())?;
            let mut constraint = Constraint::new(parser, self.end, stops);
            let can_begin = constraint.can_begin().map_err(|error| error.to_string())?;
            if can_begin { Ok(constraint) } else { Err("no text satisfies it".to_owned()) }
        };
        bounds::on_deep_stack(|| contained(begin)).map_err(GrammarError::Grammar)
    }
}

/// The grammar in llguidance's form, if it is within the bounds.
fn read(grammar: &Grammar) -> Result<TopLevelGrammar, String> {
    match grammar {
        Grammar::JsonSchema(schema) => {
            let schema = serde_json::from_str(schema).map_err(|error| format!("it is not JSON: {error}"))?;
            bounds::check_schema(&schema)?;
            Ok(TopLevelGrammar::from_json_schema(with_bounded_space(schema)))
        }
        Grammar::Regex(regex) => Ok(TopLevelGrammar::from_regex(regex)),
        Grammar::Lark(lark) => {
            bounds::check_lark(lark)?;
            Ok(TopLevelGrammar::from_lark(lark.clone()))
        }
    }
}

/// The text of a panic is not for clients, and an error of the same kind is all that can be said of it.
fn contained<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("it cannot be compiled".to_owned()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Every byte, some words, one of them twice, and the end as the last token.
    pub(crate) fn vocabulary() -> (Vocabulary, Vec<Vec<u8>>) {
        let mut bytes: Vec<Vec<u8>> = (0..=255u8).map(|byte| vec![byte]).collect();
        let words = ["\"name\"", "{\"", "\": ", "true", "false", "null", "  ", "yes", "no", "maybe", "12", "\"}", "no"];
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
    fn tokenizers_of_every_kind_are_read() {
        let byte_level = serde_json::json!({
            "decoder": {"type": "ByteLevel"}, "added_tokens": [{"id": 2, "content": "<end>", "special": true}],
            "model": {"vocab": {"a": 0, "Ġb": 1}},
        });
        assert!(Vocabulary::of_tokenizer(&byte_level, Some(2)).is_ok());
        assert!(Vocabulary::of_tokenizer(&byte_level, Some(7)).unwrap_err().to_string().contains("ends an answer"));
        let pieces = serde_json::json!({
            "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Strip"}]},
            "added_tokens": [{"id": 0, "content": "</s>", "special": true}],
            "model": {"type": "Unigram", "vocab": [["</s>", 0.0], ["<0x31>", -1.0], ["2", -2.0]]},
        });
        let vocabulary = Vocabulary::of_tokenizer(&pieces, Some(0)).unwrap();
        let mut constraint = vocabulary.compile(&Grammar::regex("12?"), &[]).unwrap();
        constraint.accept(1).unwrap();
        let mut logits = [0.0; 4];
        constraint.apply(&mut logits).unwrap();
        assert_eq!(
            logits.map(f32::is_finite),
            [true, false, true, false],
            "ids beyond the vocabulary are never allowed"
        );
        let none = serde_json::json!({"decoder": null, "added_tokens": [], "model": {}});
        assert!(matches!(Vocabulary::of_tokenizer(&none, Some(0)), Err(GrammarError::Tokenizer(_))));
    }
}
