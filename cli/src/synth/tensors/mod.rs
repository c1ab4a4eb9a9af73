//! The tensors of a configuration: names as on the hub, shapes as published.

mod language;
mod vision;

use anyhow::bail;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Name, shape and fill of a tensor that has no numbers yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Name under which the tensor is stored.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Distribution of the numbers.
    pub fill: Fill,
}

/// The distribution that fills a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    /// Every number is 1: the weight of a norm.
    Ones,
    /// Normally distributed about 0, with this standard deviation.
    Normal(f32),
}

/// Standard deviation of weights, transformers' `initializer_range`.
const STD: f32 = 0.02;
/// Standard deviation of biases, small relative to the values that they are added to.
const BIAS_STD: f32 = 0.01;

impl Tensor {
    /// How many numbers the tensor has.
    pub fn len(&self) -> u64 {
        self.shape.iter().map(|&side| side as u64).product()
    }

    fn weight(name: impl Into<String>, shape: &[usize]) -> Tensor {
        Tensor { name: name.into(), shape: shape.to_vec(), fill: Fill::Normal(STD) }
    }

    fn bias(name: impl Into<String>, len: usize) -> Tensor {
        Tensor { name: name.into(), shape: vec![len], fill: Fill::Normal(BIAS_STD) }
    }

    fn norm(name: impl Into<String>, len: usize) -> Tensor {
        Tensor { name: name.into(), shape: vec![len], fill: Fill::Ones }
    }

    /// Scales a matrix whose output a block adds to the residual stream, so that the stream's size does not depend on
    /// the number of blocks.
    fn onto_residual(self, layers: usize) -> Tensor {
        Tensor { fill: Fill::Normal(STD / (2.0 * layers as f32).sqrt()), ..self }
    }
}

/// Weight and bias of an affine map, `NAME.weight` [outputs, inputs] and `NAME.bias`.
fn affine(name: &str, inputs: usize, outputs: usize) -> [Tensor; 2] {
    [Tensor::weight(format!("{name}.weight"), &[outputs, inputs]), Tensor::bias(format!("{name}.bias"), outputs)]
}

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
