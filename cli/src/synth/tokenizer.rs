//! A tokenizer of the vocabulary's size without a trained vocabulary: a token for each byte, the configuration's
//! special tokens, and fillers. A text becomes as many tokens as it has bytes, and every token has a text.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::dialect::Dialect;

/// The content of `tokenizer.json`.
pub fn tokenizer(dialect: &Dialect, vocab: u32) -> Value {
    let added = dialect.special.iter().map(|(id, text)| {
        json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": true})
    });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "post_processor": dialect.bos.map(|bos| begin_with(bos, dialect)),
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary(dialect, vocab), "merges": [],
        },
    })
}

/// The content of `tokenizer_config.json`.
pub fn configuration(dialect: &Dialect, positions: &Value) -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": positions,
        "clean_up_tokenization_spaces": false,
        "bos_token": dialect.bos,
        "eos_token": dialect.eos,
        "pad_token": dialect.pad,
        "chat_template": dialect.chat_template,
    })
}

/// Maps token texts to ids: every id below `vocab` has one text.
fn vocabulary(dialect: &Dialect, vocab: u32) -> Map<String, Value> {
    let special: HashMap<u32, &str> = dialect.special.iter().copied().collect();
    let mut letters = alphabet().into_iter();
    let text = |id: u32| match special.get(&id) {
        Some(text) => (*text).to_owned(),
        None => letters.next().map_or_else(|| format!("<t{id}>"), String::from),
    };
    let texts: Vec<String> = (0..vocab).map(text).collect();
    texts.into_iter().zip(0u32..).map(|(text, id)| (text, id.into())).collect()
}

/// The 256 characters by which byte-level tokenizers write bytes: printable ones as themselves, the others from U+0100
/// on.
fn alphabet() -> Vec<char> {
    let printable: HashSet<u8> = (b'!'..=b'~').chain(0xA1..=0xAC).chain(0xAE..=0xFF).collect();
    let mut behind = (0x100u32..).filter_map(char::from_u32);
    (0..=u8::MAX)
        .filter_map(|byte| if printable.contains(&byte) { Some(char::from(byte)) } else { behind.next() })
        .collect()
}

/// A post-processor that puts the first token in front of every text.
fn begin_with(bos: &str, dialect: &Dialect) -> Value {
    let id = dialect.special.iter().find(|(_, text)| *text == bos).map(|(id, _)| id);
    let first = json!({"SpecialToken": {"id": bos, "type_id": 0}});
    let text = |id: &str, kind: u32| json!({"Sequence": {"id": id, "type_id": kind}});
    json!({
        "type": "TemplateProcessing",
        "single": [first, text("A", 0)],
        "pair": [first, text("A", 0), text("B", 1)],
        "special_tokens": {bos: {"id": bos, "ids": [id], "tokens": [bos]}},
    })
}
