//! Reads a checkpoint folder into a [`ServedModel`].

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokenizers::Tokenizer;

use super::{ImageToken, ServedModel, SpecialTokens, chat_template, files, generation_config, tokens::TokenFacts};
use crate::prompt::{ChatTemplate, NamedTokens, Spelling, TemplateError};

/// Why a folder cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}; --model must name a Hugging Face checkpoint folder", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not JSON.
    #[error("{} is not valid JSON: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: serde_json::Error,
    },
    /// tokenizer.json is not a tokenizer.
    #[error("{} is not a tokenizer: {message}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What the library said.
        message: String,
    },
    /// generation_config.json says what is not built.
    #[error("{}: {key} is {value}; {key} {rule}", path.display())]
    Generation {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        rule: String,
    },
    /// The chat template does not compile.
    #[error("the chat template of {} cannot be used: {source}", path.display())]
    Template {
        /// The folder.
        path: PathBuf,
        /// Where and what.
        source: TemplateError,
    },
}

/// Reads `folder`; `name` replaces the folder's name towards clients.
pub fn load(folder: &Path, name: Option<&str>) -> Result<ServedModel, LoadError> {
    let config = files::optional_json(folder, "config.json")?;
    let tokenizer_config = files::optional_json(folder, "tokenizer_config.json")?;
    let generation_config = generation_config::read(folder, &config)?;
    let (tokenizer, tokenizer_digest, facts) = load_tokenizer(folder, &tokenizer_config)?;

    let image_token = image_token(&config, &tokenizer);
    let special_tokens = special_tokens(&tokenizer, image_token.as_ref());
    let stop_token_ids = stop_token_ids(&config, &generation_config, &facts, &tokenizer);
    let template = load_template(folder, &tokenizer_config, facts, image_token.as_ref())?;
    let root = folder_name(folder);
    Ok(ServedModel {
        name: name.unwrap_or(&root).to_owned(),
        root,
        tokenizer_digest,
        template,
        image_token,
        special_tokens,
        stop_token_ids,
        max_positions: files::text_config_u32(&config, "max_position_embeddings"),
        vocab: vocabulary_size(&tokenizer),
        token_bytes_max: tokenizer.get_vocab(true).keys().map(String::len).max().unwrap_or(1).max(1),
        defaults: generation_config::defaults(folder, &generation_config)?,
        spelling: Spelling::of(&tokenizer),
        tokenizer,
    })
}

fn load_tokenizer(folder: &Path, tokenizer_config: &Value) -> Result<(Tokenizer, String, TokenFacts), LoadError> {
    let path = folder.join("tokenizer.json");
    let bytes = std::fs::read(&path).map_err(|source| LoadError::Read { path: path.clone(), source })?;
    let digest = blake3::hash(&bytes).to_hex().to_string();
    let refused = |error: tokenizers::Error| LoadError::Tokenizer { path: path.clone(), message: error.to_string() };
    let mut tokenizer = Tokenizer::from_bytes(&bytes).map_err(refused)?;
    let facts = TokenFacts::read(folder, tokenizer_config, &tokenizer)?;
    facts.add_to(&mut tokenizer).map_err(refused)?;
    // A tokenizer saved in training may cut or pad; transformers ignores both unless asked.
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(refused)?;
    Ok((tokenizer, digest, facts))
}

fn load_template(
    folder: &Path,
    tokenizer_config: &Value,
    mut facts: TokenFacts,
    image_token: Option<&ImageToken>,
) -> Result<Option<ChatTemplate>, LoadError> {
    let Some(source) = chat_template::find(folder, tokenizer_config)? else {
        tracing::warn!("the model folder has no chat template: chat requests will be refused");
        return Ok(None);
    };
    facts.name_for_templates(folder)?;
    let mut named = facts.named;
    let image = image_token.map(|token| token.text.clone());
    if let Some(text) = &image
        && !named.iter().any(|(name, _)| name == "image_token")
    {
        named.push(("image_token".to_owned(), text.clone()));
    }
    ChatTemplate::new(&source, NamedTokens { named, image })
        .map(Some)
        .map_err(|source| LoadError::Template { path: folder.to_owned(), source })
}

fn image_token(config: &Value, tokenizer: &Tokenizer) -> Option<ImageToken> {
    let id = ["image_token_index", "image_token_id"].iter().find_map(|key| config[*key].as_u64())?;
    let id = u32::try_from(id).ok()?;
    Some(ImageToken { id, text: tokenizer.id_to_token(id)? })
}

fn special_tokens(tokenizer: &Tokenizer, image_token: Option<&ImageToken>) -> SpecialTokens {
    let mut special = SpecialTokens::default();
    for (id, token) in tokenizer.get_added_tokens_decoder() {
        if token.special && !token.content.is_empty() {
            special.ids.insert(id);
            special.texts.push(token.content);
        }
    }
    if let Some(image) = image_token
        && special.ids.insert(image.id)
    {
        special.texts.push(image.text.clone());
    }
    special
}

fn stop_token_ids(config: &Value, generation_config: &Value, facts: &TokenFacts, tokenizer: &Tokenizer) -> Vec<u32> {
    let mut ids = files::token_ids(&generation_config["eos_token_id"]);
    if ids.is_empty() {
        ids = files::token_ids(&config["eos_token_id"]);
    }
    if ids.is_empty() {
        ids = files::token_ids(&config["text_config"]["eos_token_id"]);
    }
    // Chat checkpoints often end turns with a token that only the tokenizer's configuration names.
    ids.extend(facts.token("eos_token").and_then(|text| tokenizer.token_to_id(text)));
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn vocabulary_size(tokenizer: &Tokenizer) -> u32 {
    let highest = tokenizer.get_vocab(true).values().copied().max();
    highest.map_or(0, |id| id.saturating_add(1))
}

fn folder_name(folder: &Path) -> String {
    // `.` and `..` have no name of their own.
    let resolved = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    resolved.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/model")
    }

    #[test]
    fn the_fixture_loads() {
        let model = load(&fixture(), None).unwrap();
        assert_eq!(model.name, "model");
        assert_eq!(model.image_token.as_ref().unwrap().text, "<image>");
        assert_eq!(model.stop_token_ids, [1]);
        assert_eq!(model.max_positions, Some(512));
        assert!(model.template.is_some());
        assert_eq!(model.tokenizer_digest.len(), 64);
    }

    #[test]
    fn a_wrong_folder_says_what_is_missing() {
        let error = load(Path::new("/no/such"), None).err().unwrap();
        assert!(error.to_string().contains("tokenizer.json"), "{error}");
    }
}
