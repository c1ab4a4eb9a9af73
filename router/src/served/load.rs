//! Reads a checkpoint, a folder or a GGUF file, into a [`ServedModel`].

use std::{path::Path, sync::OnceLock};

use secateur_grammar::Spelling;
use secateur_proto::checkpoint_name;
use serde_json::Value;
use tokenizers::Tokenizer;

use super::{
    chat_template,
    documents::Documents,
    error::LoadError,
    files, generation_config,
    model::{ImageToken, ServedModel, SpecialTokens},
    tokens::TokenFacts,
};
use crate::template::{ChatTemplate, NamedTokens};

/// Reads the checkpoint at `path`; `name` replaces the checkpoint's own name towards clients.
pub fn load(path: &Path, name: Option<&str>) -> Result<ServedModel, LoadError> {
    let documents = Documents::of(path)?;
    let config = documents.json("config.json")?;
    let tokenizer_config = documents.json("tokenizer_config.json")?;
    let generation_config = generation_config::read(&documents, &config)?;
    let (tokenizer, tokenizer_digest, facts) = load_tokenizer(&documents, &tokenizer_config)?;

    let image_token = image_token(&config, &tokenizer);
    let special_tokens = special_tokens(&tokenizer, image_token.as_ref(), facts.unknown());
    let stop_token_ids = stop_token_ids(&config, &generation_config, &facts, &tokenizer);
    let template = load_template(&documents, &tokenizer_config, facts, image_token.as_ref())?;
    let root = secateur_gguf::name(path).unwrap_or_else(|| checkpoint_name(path));
    Ok(ServedModel {
        name: name.unwrap_or(&root).to_owned(),
        root,
        tokenizer_digest,
        tool_dialect: template.as_ref().and_then(ChatTemplate::tools),
        template,
        image_token,
        special_tokens,
        stop_token_ids,
        max_positions: files::text_config_u32(&config, "max_position_embeddings"),
        vocab: vocabulary_size(&tokenizer),
        token_bytes_max: tokenizer.get_vocab(true).keys().map(String::len).max().unwrap_or(1).max(1),
        defaults: generation_config::defaults(documents.path(), &generation_config)?,
        // The decoder was read from JSON, so it can be written as JSON.
        spelling: Spelling::of_decoder(&serde_json::to_value(tokenizer.get_decoder()).unwrap_or_default()),
        literal_tokenizer: OnceLock::new(),
        vocabulary: OnceLock::new(),
        tokenizer,
    })
}

fn load_tokenizer(
    documents: &Documents,
    tokenizer_config: &Value,
) -> Result<(Tokenizer, String, TokenFacts), LoadError> {
    let name = "tokenizer.json";
    let path = documents.path().join(name);
    let missing = || LoadError::Read { path: path.clone(), source: std::io::ErrorKind::NotFound.into() };
    let bytes = documents.bytes(name)?.ok_or_else(missing)?;
    let digest = documents.tokenizer_digest(&bytes);
    let refused = |error: tokenizers::Error| LoadError::Tokenizer { path: path.clone(), message: error.to_string() };
    let mut tokenizer = Tokenizer::from_bytes(&bytes).map_err(refused)?;
    let facts = TokenFacts::read(documents, tokenizer_config, &tokenizer)?;
    facts.add_to(&mut tokenizer).map_err(refused)?;
    // A tokenizer saved during training may truncate or pad; transformers ignores both unless asked.
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(refused)?;
    Ok((tokenizer, digest, facts))
}

fn load_template(
    documents: &Documents,
    tokenizer_config: &Value,
    mut facts: TokenFacts,
    image_token: Option<&ImageToken>,
) -> Result<Option<ChatTemplate>, LoadError> {
    let Some(source) = chat_template::find(documents, tokenizer_config)? else {
        tracing::warn!("the model has no chat template: chat requests will be refused");
        return Ok(None);
    };
    facts.name_for_templates(documents)?;
    let mut named = facts.named;
    let image = image_token.map(|token| token.text.clone());
    if let Some(text) = &image
        && !named.iter().any(|(name, _)| name == "image_token")
    {
        named.push(("image_token".to_owned(), text.clone()));
    }
    let unfit = |source| LoadError::Template { path: documents.path().to_owned(), source };
    ChatTemplate::new(&source, NamedTokens { named, image }).map(Some).map_err(unfit)
}

fn image_token(config: &Value, tokenizer: &Tokenizer) -> Option<ImageToken> {
    let id = ["image_token_index", "image_token_id"].iter().find_map(|key| config[*key].as_u64())?;
    let id = u32::try_from(id).ok()?;
    Some(ImageToken { id, text: tokenizer.id_to_token(id)? })
}

/// The special tokens that clients must not produce. The id of `unknown` is not among them, since any word that the
/// tokenizer does not know becomes that token.
fn special_tokens(tokenizer: &Tokenizer, image_token: Option<&ImageToken>, unknown: Option<&str>) -> SpecialTokens {
    let mut special = SpecialTokens::default();
    for (id, token) in tokenizer.get_added_tokens_decoder() {
        if token.special && !token.content.is_empty() {
            if unknown == Some(token.content.as_str()) {
                special.unknown = Some(id);
            } else {
                special.ids.insert(id);
            }
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
    // Chat checkpoints often end turns with a token that only tokenizer_config.json names.
    ids.extend(facts.token("eos_token").and_then(|text| tokenizer.token_to_id(text)));
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn vocabulary_size(tokenizer: &Tokenizer) -> u32 {
    let highest = tokenizer.get_vocab(true).values().copied().max();
    highest.map_or(0, |id| id.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

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
