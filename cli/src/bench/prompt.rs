//! Texts of a given approximate number of tokens, no two with the same beginning, so that no cache of prefixes helps.

use std::path::Path;

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use serde_json::Value;

use crate::client::connection::Client;

const WORDS: [&str; 32] = [
    "river", "stone", "window", "garden", "paper", "winter", "copper", "signal", "bridge", "engine", "harbor",
    "letter", "market", "silver", "forest", "number", "castle", "summer", "button", "candle", "dinner", "finger",
    "island", "kitchen", "ladder", "mirror", "needle", "orange", "pencil", "rabbit", "shadow", "thread",
];
/// Characters per token, for routers that do not count tokens: a word of the list with its space, which is one token in
/// most trained vocabularies.
const CHARS_PER_TOKEN: f64 = 7.0;
/// Length of the sample text, so long that the tokens of a chat template are negligible.
const SAMPLE_CHARS: usize = 4_000;

/// Relation between the characters and the tokens of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Number of tokens of a conversation without words.
    overhead: f64,
    chars_per_token: f64,
}

impl Scale {
    /// Asks the router for counts; if it has no such route, inspects the tokenizer, or assumes one token per word.
    pub async fn find(client: &Client, model: Option<&Path>, name: &str) -> Scale {
        let short = client.count_tokens(name, "a").await;
        let long = client.count_tokens(name, &text(0, 0, 0, SAMPLE_CHARS)).await;
        match (short, long) {
            (Some(short), Some(long)) if long > short => Scale::between((1, short), (SAMPLE_CHARS, long)),
            _ if model.is_some_and(is_bytewise) => Scale { overhead: 0.0, chars_per_token: 1.0 },
            _ => Scale { overhead: 0.0, chars_per_token: CHARS_PER_TOKEN },
        }
    }

    /// The straight line through two texts, each given by its characters and its tokens.
    fn between((chars, tokens): (usize, u64), (more_chars, more_tokens): (usize, u64)) -> Scale {
        let chars_per_token = (more_chars - chars) as f64 / (more_tokens - tokens) as f64;
        Scale { overhead: tokens as f64 - chars as f64 / chars_per_token, chars_per_token }
    }

    /// Number of characters of a text that makes a conversation of `tokens` tokens; at least one.
    pub fn chars(&self, tokens: u32) -> usize {
        (((f64::from(tokens) - self.overhead) * self.chars_per_token).round() as usize).max(1)
    }
}

/// Whether a checkpoint's tokenizer has one token for each byte and no merges, as those of `secateur synth` do.
fn is_bytewise(model: &Path) -> bool {
    let tokenizer = std::fs::read(model.join("tokenizer.json")).ok();
    let tokenizer: Option<Value> = tokenizer.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    tokenizer.is_some_and(|tokenizer| tokenizer["model"]["merges"].as_array().is_some_and(Vec::is_empty))
}

/// The `index`-th text of that seed, of exactly `chars` characters. It begins with a label: another label gives a text
/// of the same length that no cache of prefixes knows.
pub fn text(seed: u64, index: u64, label: u64, chars: usize) -> String {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(index);
    let mut text = format!("{label}:");
    while text.len() < chars {
        text.push(' ');
        text.push_str(WORDS[random.next_u32() as usize % WORDS.len()]);
    }
    text.truncate(chars);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_their_length_and_differ_from_the_start() {
        let texts: Vec<String> = (0..50).map(|index| text(1, index, index, 200)).collect();
        assert!(texts.iter().all(|text| text.len() == 200 && text.is_ascii()));
        for (index, one) in texts.iter().enumerate() {
            assert!(texts[..index].iter().all(|other| other[..20] != one[..20]));
        }
        assert_eq!(text(1, 7, 7, 200), texts[7]);
        assert_ne!(text(2, 7, 7, 200), texts[7]);
        assert_eq!(text(1, 7, 8, 200)[2..], texts[7][2..]);
        assert_ne!(text(1, 7, 8, 200), texts[7]);
    }

    #[test]
    fn a_line_through_two_counts_gives_the_length() {
        // One token per byte and ten for a template.
        let scale = Scale::between((1, 11), (4_000, 4_010));
        assert_eq!(scale, Scale { overhead: 10.0, chars_per_token: 1.0 });
        assert_eq!((scale.chars(256), scale.chars(3)), (246, 1));
        let scale = Scale::between((1, 12), (4_001, 1_012));
        assert_eq!(scale.chars(1_011), 3_997);
    }

    #[test]
    fn a_tokenizer_without_merges_is_known() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_bytewise(dir.path()));
        std::fs::write(dir.path().join("tokenizer.json"), r#"{"model": {"merges": []}}"#).unwrap();
        assert!(is_bytewise(dir.path()));
        std::fs::write(dir.path().join("tokenizer.json"), r#"{"model": {"merges": ["a b"]}}"#).unwrap();
        assert!(!is_bytewise(dir.path()));
    }
}
