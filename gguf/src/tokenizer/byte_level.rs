//! Byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM): tokens are spelled in an alphabet with one printable character per
//! byte.

use std::collections::HashSet;

use serde_json::{Map, json};

use super::parts::Parts;
use super::pre_tokenizer::PreTokenizer;
use super::vocabulary::{TokenKind, Vocabulary, merges};
use crate::error::Problem;
use crate::file::Gguf;

pub(super) fn parts(gguf: &Gguf, vocabulary: &Vocabulary<'_>) -> Result<Parts, Problem> {
    let pre_tokenizer = PreTokenizer::named(gguf.text("tokenizer.ggml.pre")?)?;
    let merges = merges(gguf)?.ok_or_else(|| Problem::MissingKey("tokenizer.ggml.merges".to_owned()))?;
    let alphabet = alphabet();
    let letters: HashSet<char> = alphabet.iter().copied().collect();
    let mut ids = Map::new();
    for ((id, token), kind) in (0u32..).zip(vocabulary.tokens).zip(&vocabulary.kinds) {
        // Tokens that are never split are matched in the text itself, so they are not spelled in the alphabet.
        let is_spelled = *kind != TokenKind::Plain || token.chars().all(|letter| letters.contains(&letter));
        let spelled = if is_spelled { token.clone() } else { spell(token, &alphabet) };
        ids.insert(spelled, id.into());
    }
    Ok(Parts {
        pre_tokenizer: pre_tokenizer.json(),
        decoder: json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true }),
        model: json!({
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "", "end_of_word_suffix": "",
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": pre_tokenizer.ignores_merges,
            "vocab": ids, "merges": merges,
        }),
        adds_bos: pre_tokenizer.adds_bos,
    })
}

fn spell(token: &str, alphabet: &[char]) -> String {
    token.bytes().map(|byte| alphabet[usize::from(byte)]).collect()
}

/// GPT-2's alphabet, by byte: printable bytes are themselves, the others are the characters from 256 on, in order.
fn alphabet() -> Vec<char> {
    let mut others = '\u{100}'..;
    let letter = |byte: u8| match byte {
        b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte),
        // Only 68 bytes take a character of this range, so it never ends.
        _ => others.next().unwrap_or(char::REPLACEMENT_CHARACTER),
    };
    (0..=u8::MAX).map(letter).collect()
}
