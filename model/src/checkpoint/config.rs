//! `config.json` as a whole: which architecture it is, and its validated parts.

use std::path::Path;

use serde_json::Value;

use crate::checkpoint::as_typed::{Language, TopLevel};
use crate::checkpoint::generation::{self, token_ids};
use crate::checkpoint::json;
use crate::checkpoint::language::LanguageConfig;
use crate::checkpoint::vision::VisionConfig;
use crate::error::{ModelError, Result};
use crate::float::FloatType;

/// What the JSON of a checkpoint says, checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub architecture: String,
    pub language: LanguageConfig,
    pub vision: Option<VisionConfig>,
    pub eos_token_ids: Vec<u32>,
    /// The format the weights are said to be stored in, where the configuration says so.
    pub stored: Option<FloatType>,
}

impl Config {
    /// Reads `config.json` and `generation_config.json` in `dir`.
    pub fn read(dir: &Path) -> Result<Config> {
        let value: Value = json::read(&dir.join("config.json"))?;
        let mut config = Config::from_json(&value)?;
        if let Some(ids) = generation::eos_token_ids(dir)? {
            config.eos_token_ids = ids;
        }
        Ok(config)
    }

    fn from_json(value: &Value) -> Result<Config> {
        let typed: TopLevel = parse(value)?;
        if typed.quantization_config.is_some() {
            let problem = "quantized checkpoints are not supported";
            return Err(ModelError::config("quantization_config", problem));
        }
        match typed.model_type.as_deref() {
            Some("llava") => llava(&typed),
            Some("llama") => llama(&typed, parse(value)?),
            other => {
                let found = other.unwrap_or("nothing");
                let problem = format!("`{found}` is not supported, only `llava` and `llama`");
                Err(ModelError::config("model_type", problem))
            }
        }
    }
}

fn llava(typed: &TopLevel) -> Result<Config> {
    let absent = Language::default();
    let text = typed.text_config.as_ref().unwrap_or(&absent);
    let mut language = LanguageConfig::validate(text, "text_config.")?;
    language.tied_embeddings |= typed.tie_word_embeddings.unwrap_or(false);
    let eos = typed.eos_token_id.as_ref().or(text.eos_token_id.as_ref());
    Ok(Config {
        architecture: architecture(typed, "LlavaForConditionalGeneration")?,
        language,
        vision: Some(VisionConfig::validate(typed)?),
        eos_token_ids: eos_or_default(eos)?,
        stored: typed.dtype.as_deref().and_then(FloatType::from_name),
    })
}

fn llama(typed: &TopLevel, text: Language) -> Result<Config> {
    Ok(Config {
        architecture: architecture(typed, "LlamaForCausalLM")?,
        language: LanguageConfig::validate(&text, "")?,
        vision: None,
        eos_token_ids: eos_or_default(text.eos_token_id.as_ref())?,
        stored: typed.dtype.as_deref().and_then(FloatType::from_name),
    })
}

/// The class name. Another head on the same body (a classifier, say) is refused.
fn architecture(typed: &TopLevel, expected: &str) -> Result<String> {
    match typed.architectures.as_deref() {
        None | Some([]) => Ok(expected.to_owned()),
        Some([name]) if name == expected => Ok(expected.to_owned()),
        Some(names) => {
            let problem = format!("{names:?} is not supported, only [{expected:?}]");
            Err(ModelError::config("architectures", problem))
        }
    }
}

/// `LlamaConfig`'s default end token is 2.
fn eos_or_default(typed: Option<&Value>) -> Result<Vec<u32>> {
    typed.map_or(Ok(vec![2]), |value| token_ids(value, "eos_token_id"))
}

fn parse<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T> {
    T::deserialize(value).map_err(|source| ModelError::Json { path: "config.json".into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Config> {
        Config::from_json(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_plain_llama_has_no_vision() {
        let config = read(r#"{"model_type": "llama", "num_hidden_layers": 3, "eos_token_id": [7, 8]}"#).unwrap();
        assert_eq!(config.language.layers, 3);
        assert_eq!(config.vision, None);
        assert_eq!(config.eos_token_ids, [7, 8]);
    }

    #[test]
    fn tied_embeddings_may_be_said_at_either_level() {
        let outer = read(r#"{"model_type": "llava", "tie_word_embeddings": true}"#).unwrap();
        let inner = read(r#"{"model_type": "llava", "text_config": {"tie_word_embeddings": true}}"#).unwrap();
        assert!(outer.language.tied_embeddings && inner.language.tied_embeddings);
    }

    #[test]
    fn other_architectures_are_refused() {
        let cases = [
            r#"{}"#,
            r#"{"model_type": "mistral"}"#,
            r#"{"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]}"#,
            r#"{"model_type": "llama", "quantization_config": {"bits": 4}}"#,
        ];
        for json in cases {
            assert!(matches!(read(json), Err(ModelError::Config { .. })), "{json}");
        }
    }
}
