//! SentencePiece vocabularies (Llama 2, Mistral) as BPE with byte fallback, converted in the way of transformers.

use std::collections::HashMap;

use serde_json::{Map, json};

use super::parts::Parts;
use super::vocabulary::{Vocabulary, merges};
use crate::error::Problem;
use crate::file::{Gguf, wrong_kind};
use crate::value::Value;

const SCORES: &str = "tokenizer.ggml.scores";
/// Character that stands for a space in tokens.
const SPACE: &str = "\u{2581}";

pub(super) fn parts(gguf: &Gguf, vocabulary: &Vocabulary<'_>) -> Result<Parts, Problem> {
    refuse_normalizers(gguf)?;
    let ids = vocabulary.ids();
    let merges = match merges(gguf)? {
        Some(merges) => merges,
        None => implied_merges(vocabulary, &ids, scores(gguf, vocabulary.tokens.len())?),
    };
    let vocab: Map<String, _> = ids.iter().map(|(token, id)| ((*token).to_owned(), json!(id))).collect();
    let has_prefix = gguf.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let mut decoders = vec![
        json!({ "type": "Replace", "pattern": { "String": SPACE }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    if has_prefix {
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    let prefix = if has_prefix { "first" } else { "never" };
    Ok(Parts {
        pre_tokenizer: json!({ "type": "Metaspace", "replacement": SPACE, "prepend_scheme": prefix, "split": false }),
        decoder: json!({ "type": "Sequence", "decoders": decoders }),
        model: json!({
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocab, "merges": merges,
        }),
        adds_bos: true,
    })
}

fn refuse_normalizers(gguf: &Gguf) -> Result<(), Problem> {
    let key = "tokenizer.ggml.precompiled_charsmap";
    if gguf.value(key).is_some() {
        return Err(Problem::key(key, "normalizers of SentencePiece are not supported"));
    }
    let key = "tokenizer.ggml.remove_extra_whitespaces";
    if gguf.flag(key)?.unwrap_or(false) {
        return Err(Problem::key(key, "only false is supported"));
    }
    Ok(())
}

fn scores(gguf: &Gguf, tokens: usize) -> Result<&[f32], Problem> {
    let scores = match gguf.value(SCORES) {
        Some(Value::Floats(scores)) => scores,
        Some(other) => return Err(wrong_kind(SCORES, "an array of numbers", other)),
        None => return Err(Problem::MissingKey(SCORES.to_owned())),
    };
    if scores.len() != tokens {
        return Err(Problem::key(SCORES, format!("{} scores for {tokens} tokens", scores.len())));
    }
    if scores.iter().any(|score| !score.is_finite()) {
        return Err(Problem::key(SCORES, "a score is no number"));
    }
    Ok(scores)
}

/// A merge for each way of splitting a token into two others, in the order of `generate_merges` of transformers: by the
/// score of the token, then by the lengths of its parts, greatest first; then by the token's id and by those of its
/// parts.
fn implied_merges<'a>(
    vocabulary: &Vocabulary<'a>,
    ids: &HashMap<&'a str, u32>,
    scores: &[f32],
) -> Vec<(&'a str, &'a str)> {
    let mut merges = Vec::new();
    for (index, (token, score)) in vocabulary.tokens.iter().zip(scores).enumerate() {
        if ids.get(token.as_str()).is_none_or(|id| *id as usize != index) {
            continue;
        }
        let cuts = token.char_indices().skip(1).map(|(at, _)| token.split_at(at));
        let known = |(left, right): (&'a str, &'a str)| Some((*ids.get(left)?, *ids.get(right)?, left, right));
        let mut cuts: Vec<_> = cuts.filter_map(known).collect();
        cuts.sort_by_key(|(left, right, ..)| (*left, *right));
        let rank = |part: &str| part.chars().count();
        merges.extend(cuts.into_iter().map(|(_, _, left, right)| (*score, rank(left), rank(right), left, right)));
    }
    merges.sort_by(|one, other| {
        let by_score = other.0.partial_cmp(&one.0).unwrap_or(std::cmp::Ordering::Equal);
        by_score.then_with(|| (other.1, other.2).cmp(&(one.1, one.2)))
    });
    merges.into_iter().map(|(.., left, right)| (left, right)).collect()
}
