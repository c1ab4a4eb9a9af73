//! Pre-tokenizers of byte-level vocabularies: how a text is split into words before merging. A file has only the name
//! of a rule; the rules themselves are those of the models' own `tokenizer.json`.

use serde_json::{Value as Json, json};

use crate::error::Problem;

const KEY: &str = "tokenizer.ggml.pre";

/// A rule for splitting, and the settings that go with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PreTokenizer {
    rule: Rule,
    /// Whether a word that is a token stays whole even if merging would not lead to it.
    pub ignores_merges: bool,
    /// Default of whether a sequence begins with the begin-of-sequence token.
    pub adds_bos: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// The pattern of GPT-2, which is built into `ByteLevel`.
    Gpt2,
    /// The pattern of GPT-2, with each digit as a word of its own.
    Digits,
    /// A pattern of the model's own.
    Pattern(&'static str),
}

const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl PreTokenizer {
    /// The pre-tokenizer with the given name; without a name, GPT-2's.
    pub fn named(name: Option<&str>) -> Result<PreTokenizer, Problem> {
        let plain = |rule| PreTokenizer { rule, ignores_merges: false, adds_bos: false };
        let whole_words = |pattern| PreTokenizer { rule: Rule::Pattern(pattern), ignores_merges: true, adds_bos: true };
        match name {
            None | Some("default" | "gpt-2" | "gpt2") => Ok(plain(Rule::Gpt2)),
            Some("smollm" | "starcoder" | "refact") => Ok(plain(Rule::Digits)),
            Some("qwen2" | "deepseek-r1-qwen" | "megrez") => Ok(plain(Rule::Pattern(QWEN2))),
            Some("llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "pixtral") => Ok(whole_words(LLAMA3)),
            Some("tekken") => Ok(whole_words(TEKKEN)),
            Some(other) => {
                let known = "`gpt-2`, `default`, `smollm`, `starcoder`, `refact`, `qwen2`, `deepseek-r1-qwen`, `megrez`, \
                             `llama-bpe`, `falcon3`, `pixtral` and `tekken`";
                Err(Problem::key(KEY, format!("`{other}` is not supported, only {known}")))
            }
        }
    }

    /// The pre-tokenizer as in `tokenizer.json`.
    pub fn json(self) -> Json {
        let bytes = |has_pattern: bool| json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": has_pattern });
        let sequence =
            |first: Json, has_pattern| json!({ "type": "Sequence", "pretokenizers": [first, bytes(has_pattern)] });
        match self.rule {
            Rule::Gpt2 => bytes(true),
            Rule::Digits => sequence(json!({ "type": "Digits", "individual_digits": true }), true),
            Rule::Pattern(pattern) => {
                let split = json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false });
                sequence(split, false)
            }
        }
    }
}
