//! Reads what a checkpoint's files besides tokenizer.json say about its tokens, by the rules of transformers.
//!
//! tokenizer_config.json names tokens (`bos_token`, `image_token`, ...) and lists added tokens in
//! `added_tokens_decoder`. If it lacks that list, special_tokens_map.json and added_tokens.json, which older
//! checkpoints have, are read as well, and the former wins over tokenizer_config.json. The padding of tokenizer.json
//! names `pad_token` if nothing else does, and some tokenizer classes have default names for tokens that no file names.
//! Tokens that processor configurations name are available to templates too.

use serde_json::{Map, Value};
use tokenizers::{AddedToken, Tokenizer};

use super::{documents::Documents, error::LoadError, files};

const PROCESSOR_CONFIGS: [&str; 2] = ["processor_config.json", "preprocessor_config.json"];

/// Default token names of tokenizer classes.
const CLASS_NAMES: &[(&str, &[(&str, &str)])] = &[
    ("LlamaTokenizer", &[("unk_token", "<unk>"), ("bos_token", "<s>"), ("eos_token", "</s>")]),
    (
        "Qwen2Tokenizer",
        &[("unk_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>"), ("pad_token", "<|endoftext|>")],
    ),
];
/// Model types whose tokenizers transformers loads from tokenizer.json alone, whatever class is named.
const CLASSLESS: [&str; 3] = ["llava", "llava_next", "mistral"];

/// The tokens that the files describe.
#[derive(Debug, Default)]
pub struct TokenFacts {
    /// Names of tokens and their texts: `bos_token`, `<s>`.
    pub named: Vec<(String, String)>,
    /// Special tokens without a name.
    extra: Vec<String>,
    /// Tokens that were added, in the order of their ids.
    added: Vec<AddedToken>,
    /// Whether special tokens in a text are split like ordinary words.
    splits_special: bool,
}

impl TokenFacts {
    /// Reads `documents`; `tokenizer_config` is their tokenizer_config.json, `tokenizer` their tokenizer.json.
    pub fn read(documents: &Documents, tokenizer_config: &Value, tokenizer: &Tokenizer) -> Result<Self, LoadError> {
        let mut config = tokenizer_config.as_object().cloned().unwrap_or_default();
        if !config.contains_key("extra_special_tokens")
            && let Some(extra) = config.remove("additional_special_tokens")
        {
            config.insert("extra_special_tokens".into(), extra);
        }
        let mut facts = Self::default();
        let decoder = config.get("added_tokens_decoder").and_then(Value::as_object).cloned();
        if decoder.is_none() {
            merge(&mut config, documents.json("special_tokens_map.json")?);
        }
        facts.splits_special = config.get("split_special_tokens") == Some(&Value::Bool(true));
        facts.name(&config);
        facts.name_by_class(class_names(&config, &documents.json("config.json")?, tokenizer), &config);
        let padding = tokenizer.get_padding().map(|padding| ("pad_token", padding.pad_token.clone()));
        padding.into_iter().for_each(|(name, token)| facts.name_if_unnamed(name, token));
        facts.added = match decoder {
            Some(decoder) => decoded(&decoder),
            None => facts.listed(&documents.json("added_tokens.json")?),
        };
        Ok(facts)
    }

    /// Adds the names that processor configurations give, for templates only: these tokens are not added to the
    /// tokenizer.
    pub fn name_for_templates(&mut self, documents: &Documents) -> Result<(), LoadError> {
        for file in PROCESSOR_CONFIGS {
            let config = documents.json(file)?;
            for (name, value) in config.as_object().into_iter().flatten().filter(|(name, _)| name.ends_with("_token")) {
                files::text_of_token(value).into_iter().for_each(|token| self.name_if_unnamed(name, token));
            }
        }
        Ok(())
    }

    /// The text of the token called `name`.
    pub fn token(&self, name: &str) -> Option<&str> {
        self.named.iter().find(|(known, _)| known == name).map(|(_, token)| token.as_str())
    }

    /// The token for unknown words, if it has no other role.
    pub fn unknown(&self) -> Option<&str> {
        let unknown = self.token("unk_token")?;
        self.named.iter().all(|(name, token)| name == "unk_token" || token != unknown).then_some(unknown)
    }

    /// Adds the described tokens that `tokenizer` lacks, and sets how it treats special tokens in texts.
    pub fn add_to(&self, tokenizer: &mut Tokenizer) -> Result<(), tokenizers::Error> {
        let known: Vec<AddedToken> = tokenizer.get_added_tokens_decoder().into_values().collect();
        let is_known = |text: &str| known.iter().any(|token| token.content == text);
        let mut missing: Vec<AddedToken> = self.added.iter().filter(|token| !same(&known, token)).cloned().collect();
        let special = self.named.iter().map(|(_, text)| text).chain(&self.extra);
        for text in special.filter(|text| !text.is_empty()) {
            match missing.iter_mut().find(|token| token.content == *text) {
                Some(token) => token.special |= self.named.iter().any(|(_, named)| named == text),
                None if !is_known(text) => missing.push(AddedToken::from(text.clone(), true)),
                None => {}
            }
        }
        if !missing.is_empty() {
            tokenizer.add_tokens(missing)?;
        }
        tokenizer.set_encode_special_tokens(self.splits_special);
        Ok(())
    }

    fn name(&mut self, config: &Map<String, Value>) {
        for (name, value) in config.iter().filter(|(name, _)| name.ends_with("_token")) {
            files::text_of_token(value).into_iter().for_each(|token| self.name_if_unnamed(name, token));
        }
        match config.get("extra_special_tokens") {
            Some(Value::Object(named)) => {
                for (name, value) in named {
                    files::text_of_token(value).into_iter().for_each(|token| self.name_if_unnamed(name, token));
                }
            }
            Some(Value::Array(tokens)) => self.extra = tokens.iter().filter_map(files::text_of_token).collect(),
            _ => {}
        }
    }

    fn name_by_class(&mut self, names: &[(&str, &str)], config: &Map<String, Value>) {
        for (name, token) in names.iter().filter(|(name, _)| !config.contains_key(*name)) {
            self.name_if_unnamed(name, (*token).to_owned());
        }
    }

    fn name_if_unnamed(&mut self, name: &str, token: String) {
        if self.token(name).is_none() {
            self.named.push((name.to_owned(), token));
        }
    }

    /// The tokens of added_tokens.json, `{"<text>": id}`.
    fn listed(&self, added: &Value) -> Vec<AddedToken> {
        let mut listed: Vec<(u64, &String)> =
            added.as_object().into_iter().flatten().filter_map(|(text, id)| Some((id.as_u64()?, text))).collect();
        listed.sort_unstable();
        let is_special = |text: &String| self.extra.contains(text) || self.named.iter().any(|(_, named)| named == text);
        listed.into_iter().map(|(_, text)| AddedToken::from(text.clone(), is_special(text))).collect()
    }
}

/// The default token names of the tokenizer's class, if transformers would load that class.
fn class_names(
    tokenizer_config: &Map<String, Value>,
    config: &Value,
    tokenizer: &Tokenizer,
) -> &'static [(&'static str, &'static str)] {
    let model_type = config["model_type"].as_str().unwrap_or_default();
    if CLASSLESS.contains(&model_type) {
        return &[];
    }
    let declared = tokenizer_config.get("tokenizer_class").or(config.get("tokenizer_class")).and_then(Value::as_str);
    let class = match declared {
        Some(class) => class.strip_suffix("Fast").unwrap_or(class),
        None if matches!(model_type, "qwen2" | "qwen3") => "Qwen2Tokenizer",
        None => return &[],
    };
    // transformers does not load a byte-level tokenizer as this class, which is not byte-level.
    if class == "LlamaTokenizer" && is_byte_level(tokenizer) {
        return &[];
    }
    CLASS_NAMES.iter().find(|(known, _)| *known == class).map_or(&[], |(_, names)| names)
}

fn is_byte_level(tokenizer: &Tokenizer) -> bool {
    let is_byte_level = |part: Option<serde_json::Result<String>>| {
        part.and_then(Result::ok).is_some_and(|json| json.contains("\"ByteLevel\""))
    };
    is_byte_level(tokenizer.get_pre_tokenizer().map(serde_json::to_string))
        || is_byte_level(tokenizer.get_decoder().map(serde_json::to_string))
}

fn same(known: &[AddedToken], token: &AddedToken) -> bool {
    let flags = |token: &AddedToken| (token.single_word, token.lstrip, token.rstrip, token.normalized, token.special);
    known.iter().any(|known| known.content == token.content && flags(known) == flags(token))
}

/// Overrides values of tokenizer_config.json with those of special_tokens_map.json.
fn merge(config: &mut Map<String, Value>, special_tokens_map: Value) {
    let Value::Object(map) = special_tokens_map else { return };
    for (key, value) in map {
        match (key.as_str(), config.get_mut(&key), value) {
            ("extra_special_tokens", Some(Value::Array(known)), Value::Array(more)) => {
                let new: Vec<Value> = more.into_iter().filter(|token| !known.contains(token)).collect();
                known.extend(new);
            }
            (_, _, value) => {
                config.insert(key, value);
            }
        }
    }
}

/// The tokens of `added_tokens_decoder`, `{"id": {"content": ...}}`.
fn decoded(decoder: &Map<String, Value>) -> Vec<AddedToken> {
    let mut decoded: Vec<(u64, AddedToken)> = decoder
        .iter()
        .filter_map(|(id, token)| {
            let flag = |key: &str| token[key].as_bool();
            let special = flag("special").unwrap_or(false);
            let added = AddedToken::from(token["content"].as_str()?.to_owned(), special)
                .single_word(flag("single_word").unwrap_or(false))
                .lstrip(flag("lstrip").unwrap_or(false))
                .rstrip(flag("rstrip").unwrap_or(false))
                .normalized(flag("normalized").unwrap_or(!special));
            Some((id.parse().ok()?, added))
        })
        .collect();
    decoded.sort_by_key(|(id, _)| *id);
    decoded.into_iter().map(|(_, token)| token).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path};

    use serde::Deserialize;

    use crate::{openai::chat, prompt, request::Limits, served};

    use super::*;

    #[derive(Deserialize)]
    struct Fixture {
        messages: Value,
        tokenizers: BTreeMap<String, Value>,
        folders: Vec<Folder>,
    }

    #[derive(Deserialize)]
    struct Folder {
        name: String,
        tokenizer: String,
        files: BTreeMap<String, Value>,
        named: BTreeMap<String, String>,
        chat: Vec<u32>,
        texts: BTreeMap<String, Vec<u32>>,
    }

    fn write(folder: &Path, name: &str, content: &Value) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = content.as_str().map_or_else(|| content.to_string(), str::to_owned);
        std::fs::write(path, text).unwrap();
    }

    /// Checks against ids of transformers; `tests/fixtures/tokenizers/make.py` says how they were produced.
    #[test]
    fn folders_give_the_tokens_that_transformers_finds() {
        let path = format!("{}/tests/fixtures/tokenizers/folders.json", env!("CARGO_MANIFEST_DIR"));
        let fixture: Fixture = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert!(fixture.folders.len() >= 8);
        let limits = Limits { images_max: 0, image_bytes_max: 0, vocab: 300 };
        let job = chat::parse(&serde_json::json!({"messages": fixture.messages}), &limits).unwrap();
        let mut differing = Vec::new();
        for case in &fixture.folders {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), "tokenizer.json", &fixture.tokenizers[&case.tokenizer]);
            case.files.iter().for_each(|(name, content)| write(folder.path(), name, content));
            let documents = Documents::of(folder.path()).unwrap();
            let config = documents.json("tokenizer_config.json").unwrap();
            let tokenizer = Tokenizer::from_file(folder.path().join("tokenizer.json")).unwrap();
            let facts = TokenFacts::read(&documents, &config, &tokenizer).unwrap();
            if facts.named.into_iter().collect::<BTreeMap<_, _>>() != case.named {
                differing.push(format!("{}: names", case.name));
            }
            let model = served::load(folder.path(), None).unwrap();
            let chat = prompt::build(&model, &job, 512).unwrap().tokens;
            if chat != case.chat {
                differing.push(format!("{}: {chat:?} is not {:?}", case.name, case.chat));
            }
            for (text, expected) in &case.texts {
                let tokens = prompt::tokenize(&model, text, true, 512).unwrap();
                if tokens != *expected {
                    differing.push(format!("{}: {text:?}: {tokens:?} is not {expected:?}", case.name));
                }
            }
        }
        // Keys of an object are read in alphabetical order, so tokens without an explicit id get different ids.
        const KNOWN: &str = "names of the model's own in extra_special_tokens: ";
        differing.retain(|found: &String| !found.starts_with(KNOWN));
        assert!(differing.is_empty(), "{}", differing.join("\n"));
    }
}
