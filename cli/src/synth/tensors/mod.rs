//! The tensors of a configuration: names as on the hub, shapes as published.

mod language;
mod tensor;
mod vision;

use anyhow::bail;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use tensor::{Fill, Tensor};

/// Every tensor of the checkpoint that `config` describes.
pub fn of(config: &Value) -> anyhow::Result<Vec<Tensor>> {
    match config["model_type"].as_str() {
        Some("llama" | "mistral" | "qwen2" | "qwen3") => Ok(language::tensors(&read(config)?, "model", "lm_head")),
        Some("llava" | "llava_next") => {
            let text: language::Shape = read(&config["text_config"])?;
            let mut tensors = vision::clip(&read(&config["vision_config"])?, text.hidden());
            if config["model_type"] == "llava_next" {
                tensors.push(Tensor::weight("image_newline", &[text.hidden()]));
            }
            tensors.extend(language::tensors(&text, "language_model.model", "language_model.lm_head"));
            Ok(tensors)
        }
        Some("qwen2_5_vl") => {
            let mut tensors = vision::qwen(&read(&config["vision_config"])?);
            tensors.extend(language::tensors(&read(config)?, "model", "lm_head"));
            Ok(tensors)
        }
        other => bail!("a preset with model_type {other:?} cannot be written; see synth/tensors"),
    }
}

fn read<T: DeserializeOwned>(config: &Value) -> anyhow::Result<T> {
    Ok(T::deserialize(config)?)
}
