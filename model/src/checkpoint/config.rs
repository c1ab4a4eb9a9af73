//! `config.json` as a whole: the architecture it names, and its validated parts.

use std::path::Path;

use secateur_gguf::Gguf;
use serde_json::Value;

use crate::checkpoint::as_typed::{Language, TopLevel};
use crate::checkpoint::family::Family;
use crate::checkpoint::generation::{self, token_ids};
use crate::checkpoint::gguf;
use crate::checkpoint::json;
use crate::checkpoint::language::LanguageConfig;
use crate::checkpoint::rope::RopeScaling;
use crate::checkpoint::vision::VisionConfig;
use crate::error::{ModelError, Result};
use crate::float::FloatType;

/// The file that configures a checkpoint.
pub(crate) const CONFIG_FILE: &str = "config.json";

/// Validated content of a checkpoint's JSON files.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub architecture: String,
    pub language: LanguageConfig,
    pub vision: Option<VisionConfig>,
    pub eos_token_ids: Vec<u32>,
    /// The format that the configuration says the weights are stored in; `None` if it names none.
    pub stored: Option<FloatType>,
}

impl Config {
    /// Reads `config.json`, `generation_config.json` and the image processor's configuration in `dir`, or a GGUF file's
    /// metadata.
    pub fn read(dir: &Path) -> Result<Config> {
        Config::of(dir, &config_bytes(dir)?)
    }

    /// Builds the configuration from the content of `config.json`, already read, and the other files of `dir`.
    pub fn of(dir: &Path, json: &[u8]) -> Result<Config> {
        if let Some(gguf) = gguf::open(dir)? {
            return of_gguf(&gguf);
        }
        let value: Value = json::parse(&dir.join(CONFIG_FILE), json)?;
        let mut config = Config::from_json(&value)?;
        if let Some(vision) = &mut config.vision {
            vision.read_processor(dir)?;
        }
        if let Some(ids) = generation::eos_token_ids(dir)? {
            config.eos_token_ids = ids;
        }
        Ok(config)
    }

    pub(super) fn from_json(value: &Value) -> Result<Config> {
        let typed: TopLevel = parse(value)?;
        if typed.quantization_config.is_some() {
            let problem = "quantized checkpoints are not supported";
            return Err(ModelError::config("quantization_config", problem));
        }
        let kind = typed.model_type.as_deref().unwrap_or("nothing");
        match (kind, Family::from_model_type(kind)) {
            ("llava", _) => llava(&typed, "LlavaForConditionalGeneration", false),
            ("llava_next", _) => llava(&typed, "LlavaNextForConditionalGeneration", true),
            ("qwen2_5_vl", _) => qwen(&typed, value),
            (_, Some(family)) => text_only(&typed, family, parse(value)?),
            (_, None) => Err(ModelError::config("model_type", format!("`{kind}` is not supported"))),
        }
    }
}

/// Configuration bytes that a fingerprint covers beside the weights: the content of `config.json`, or nothing for a
/// GGUF file, which holds its own configuration.
pub(crate) fn config_bytes(path: &Path) -> Result<Vec<u8>> {
    match gguf::file(path)? {
        Some(_) => Ok(Vec::new()),
        None => json::bytes(&path.join(CONFIG_FILE)),
    }
}

/// A GGUF file's model metadata, validated like a `config.json`.
fn of_gguf(gguf: &Gguf) -> Result<Config> {
    let mut config = Config::from_json(&gguf.config()?)?;
    let language = &mut config.language;
    if let Some(divisors) = gguf.rope_divisors()? {
        if divisors.len() != language.head_dim / 2 {
            return Err(ModelError::Shape {
                name: "rope_freqs.weight".to_owned(),
                expected: vec![language.head_dim / 2],
                found: vec![divisors.len()],
            });
        }
        language.rope.scaling = RopeScaling::Divided { by: divisors };
    }
    Ok(config)
}

fn text_only(typed: &TopLevel, family: Family, text: Language) -> Result<Config> {
    Ok(Config {
        architecture: architecture(typed, family.architecture())?,
        language: LanguageConfig::validate(&text, family, "")?,
        vision: None,
        eos_token_ids: eos_or_default(text.eos_token_id.as_ref(), family)?,
        stored: stored(typed),
    })
}

/// Configuration of a LLaVA, or of a LLaVA-NeXT, which cuts pictures into `tiles`.
fn llava(typed: &TopLevel, class: &str, tiles: bool) -> Result<Config> {
    let absent = Language::default();
    let text = typed.text_config.as_ref().unwrap_or(&absent);
    let family = match text.model_type.as_deref().unwrap_or("llama") {
        "llama" => Family::Llama,
        "mistral" => Family::Mistral,
        "qwen2" => Family::Qwen2,
        other => {
            let problem = format!("language model `{other}` is not supported, only `llama`, `mistral` and `qwen2`");
            return Err(ModelError::config("text_config.model_type", problem));
        }
    };
    let vision = VisionConfig::llava(typed, tiles)?;
    nested(typed, text, family, "text_config.", class, |_| Ok(vision))
}

fn qwen(typed: &TopLevel, value: &Value) -> Result<Config> {
    let family = Family::Qwen25Vl;
    let class = family.architecture();
    let vision = |language: &LanguageConfig| VisionConfig::qwen(typed, language.hidden);
    let Some(text) = &typed.text_config else {
        // transformers before 4.52 wrote the keys of the language part at the top level.
        return nested(typed, &parse(value)?, family, "", class, vision);
    };
    let kind = text.model_type.as_deref().unwrap_or("qwen2_5_vl_text");
    if !["qwen2_5_vl", "qwen2_5_vl_text"].contains(&kind) {
        let problem = format!("language model `{kind}` is not supported, only `qwen2_5_vl_text`");
        return Err(ModelError::config("text_config.model_type", problem));
    }
    nested(typed, text, family, "text_config.", class, vision)
}

fn nested(
    typed: &TopLevel,
    text: &Language,
    family: Family,
    at: &str,
    class: &str,
    vision: impl FnOnce(&LanguageConfig) -> Result<VisionConfig>,
) -> Result<Config> {
    let mut language = LanguageConfig::validate(text, family, at)?;
    language.tied_embeddings |= typed.tie_word_embeddings.unwrap_or(false);
    let eos = typed.eos_token_id.as_ref().or(text.eos_token_id.as_ref());
    Ok(Config {
        architecture: architecture(typed, class)?,
        vision: Some(vision(&language)?),
        language,
        eos_token_ids: eos_or_default(eos, family)?,
        stored: stored(typed),
    })
}

/// The class name. A different head on the same body (a classifier, say) is refused.
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

fn eos_or_default(typed: Option<&Value>, family: Family) -> Result<Vec<u32>> {
    let default = || Ok(family.defaults().eos_token_id.into_iter().collect());
    typed.map_or_else(default, |value| token_ids(value, "eos_token_id"))
}

fn stored(typed: &TopLevel) -> Option<FloatType> {
    typed.dtype.as_deref().or(typed.torch_dtype.as_deref()).and_then(FloatType::from_name)
}

fn parse<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T> {
    T::deserialize(value).map_err(|source| ModelError::Json { path: CONFIG_FILE.into(), source })
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
    fn what_is_not_implemented_is_refused_by_name() {
        let cases = [
            (r#"{}"#, "model_type"),
            (r#"{"model_type": "gpt2"}"#, "model_type"),
            (r#"{"model_type": "qwen2_vl"}"#, "model_type"),
            (r#"{"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]}"#, "architectures"),
            (r#"{"model_type": "qwen3", "architectures": ["Qwen2ForCausalLM"]}"#, "architectures"),
            (r#"{"model_type": "llama", "quantization_config": {"bits": 4}}"#, "quantization_config"),
            (r#"{"model_type": "llava", "text_config": {"model_type": "gemma"}}"#, "text_config.model_type"),
            (
                r#"{"model_type": "llava", "vision_config": {"model_type": "siglip_vision_model"}}"#,
                "vision_config.model_type",
            ),
            (r#"{"model_type": "llava_next", "vision_feature_layer": [-2, -5]}"#, "vision_feature_layer"),
            (r#"{"model_type": "qwen2_5_vl", "text_config": {"model_type": "qwen2"}}"#, "text_config.model_type"),
            (r#"{"model_type": "qwen2_5_vl", "head_dim": 64}"#, "rope_parameters.mrope_section"),
            (r#"{"model_type": "qwen2_5_vl"}"#, "vision_config.out_hidden_size"),
        ];
        for (json, expected) in cases {
            match read(json) {
                Err(ModelError::Config { field, .. }) => assert_eq!(field, expected, "{json}"),
                other => panic!("{json}: {other:?}"),
            }
        }
    }
}
