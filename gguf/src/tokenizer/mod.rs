//! Conversion of a file's tokenizer into `tokenizer.json` and `tokenizer_config.json`.

mod byte_level;
mod parts;
mod pre_tokenizer;
mod sentencepiece;
mod special;
mod vocabulary;

use serde_json::{Map, Value as Json, json};

use crate::error::{GgufError, Problem};
use crate::file::Gguf;
use crate::value::Value;

use special::SpecialToken;
use vocabulary::Vocabulary;

const MODEL: &str = "tokenizer.ggml.model";
const TEMPLATE: &str = "tokenizer.chat_template";

impl Gguf {
    /// The `tokenizer.json` of the same model. Vocabularies and pre-tokenizers that this version does not implement are
    /// refused by name.
    pub fn tokenizer(&self) -> Result<Json, GgufError> {
        self.tokenizer_json().map_err(|problem| self.refused(problem))
    }

    /// The `tokenizer_config.json` of the same model: named tokens and chat templates.
    pub fn tokenizer_config(&self) -> Result<Json, GgufError> {
        self.tokenizer_config_json().map_err(|problem| self.refused(problem))
    }

    fn tokenizer_json(&self) -> Result<Json, Problem> {
        let vocabulary = Vocabulary::read(self)?;
        let parts = match self.text(MODEL)? {
            Some("gpt2") => byte_level::parts(self, &vocabulary)?,
            Some("llama") => sentencepiece::parts(self, &vocabulary)?,
            Some(other) => {
                return Err(Problem::key(MODEL, format!("`{other}` is not supported, only `gpt2` and `llama`")));
            }
            None => return Err(Problem::MissingKey(MODEL.to_owned())),
        };
        Ok(json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": self.added_tokens(&vocabulary)?,
            "normalizer": null,
            "pre_tokenizer": parts.pre_tokenizer,
            "post_processor": self.post_processor(&vocabulary, parts.adds_bos)?,
            "decoder": parts.decoder,
            "model": parts.model,
        }))
    }

    /// The post-processor, which adds the tokens before and after every sequence.
    fn post_processor(&self, vocabulary: &Vocabulary<'_>, adds_bos: bool) -> Result<Json, Problem> {
        let wanted = [
            (SpecialToken::Bos, self.flag("tokenizer.ggml.add_bos_token")?.unwrap_or(adds_bos)),
            (SpecialToken::Eos, self.flag("tokenizer.ggml.add_eos_token")?.unwrap_or(false)),
        ];
        let mut named = Map::new();
        let mut pieces = [Vec::new(), Vec::new()];
        for ((token, is_wanted), pieces) in wanted.into_iter().zip(&mut pieces) {
            // As in transformers, a token that no key names is not added.
            let Some(id) = self.special_id(token)?.filter(|_| is_wanted) else { continue };
            let text = vocabulary.token(id)?;
            named.insert(text.to_owned(), json!({ "id": text, "ids": [id], "tokens": [text] }));
            pieces.push(text);
        }
        let around = |sequence: &str, type_id: u32| {
            let special = |text: &&str| json!({ "SpecialToken": { "id": text, "type_id": type_id } });
            let mut all: Vec<Json> = pieces[0].iter().map(special).collect();
            all.push(json!({ "Sequence": { "id": sequence, "type_id": type_id } }));
            all.extend(pieces[1].iter().map(special));
            all
        };
        let pair: Vec<Json> = around("A", 0).into_iter().chain(around("B", 1)).collect();
        let single = around("A", 0);
        Ok(json!({ "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": named }))
    }

    fn tokenizer_config_json(&self) -> Result<Json, Problem> {
        let vocabulary = Vocabulary::read(self)?;
        let mut config = Map::new();
        for (key, token) in [
            ("bos_token", SpecialToken::Bos),
            ("eos_token", SpecialToken::Eos),
            ("unk_token", SpecialToken::Unknown),
            ("pad_token", SpecialToken::Padding),
        ] {
            // A missing token is written as null and not left out, so that no other source can name one.
            let text = self.special_id(token)?.map(|id| vocabulary.token(id)).transpose()?;
            config.insert(key.to_owned(), json!(text));
        }
        if let Some(templates) = self.chat_templates()? {
            config.insert("chat_template".to_owned(), templates);
        }
        Ok(Json::Object(config))
    }

    /// The chat template; if there are several, all of them by name.
    fn chat_templates(&self) -> Result<Option<Json>, Problem> {
        let default = self.text(TEMPLATE)?;
        let names = match self.value("tokenizer.chat_templates") {
            Some(Value::Texts(names)) => names.as_slice(),
            _ => &[],
        };
        let mut named = Vec::new();
        for name in names {
            if let Some(template) = self.text(&format!("{TEMPLATE}.{name}"))? {
                named.push(json!({ "name": name, "template": template }));
            }
        }
        if named.is_empty() {
            return Ok(default.map(Json::from));
        }
        named.extend(default.map(|template| json!({ "name": "default", "template": template })));
        Ok(Some(Json::Array(named)))
    }
}

#[cfg(test)]
mod tests;
