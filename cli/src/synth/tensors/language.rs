//! The decoder of a language model.

use serde::Deserialize;

use super::tensor::Tensor;

/// The configuration keys that determine shapes.
#[derive(Deserialize)]
pub struct Shape {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    head_dim: Option<usize>,
    #[serde(default)]
    tie_word_embeddings: bool,
}

impl Shape {
    /// Width of the residual stream.
    pub fn hidden(&self) -> usize {
        self.hidden_size
    }

    fn head_dim(&self) -> usize {
        self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads)
    }
}

/// The tensors of the blocks under `body`, and of the head under `head` unless it is tied to the embedding.
pub fn tensors(shape: &Shape, body: &str, head: &str) -> Vec<Tensor> {
    let table = [shape.vocab_size, shape.hidden_size];
    let mut tensors = vec![Tensor::weight(format!("{body}.embed_tokens.weight"), &table)];
    for layer in 0..shape.num_hidden_layers {
        block(shape, &format!("{body}.layers.{layer}"), &mut tensors);
    }
    tensors.push(Tensor::norm(format!("{body}.norm.weight"), shape.hidden_size));
    if !shape.tie_word_embeddings {
        tensors.push(Tensor::weight(format!("{head}.weight"), &table));
    }
    tensors
}

fn block(shape: &Shape, name: &str, tensors: &mut Vec<Tensor>) {
    let (hidden, inner, layers) = (shape.hidden_size, shape.intermediate_size, shape.num_hidden_layers);
    let (wide, narrow) = (shape.num_attention_heads * shape.head_dim(), shape.num_key_value_heads * shape.head_dim());
    let weight =
        |part: &str, outputs: usize, inputs: usize| Tensor::weight(format!("{name}.{part}.weight"), &[outputs, inputs]);
    let norm = |part: &str, len: usize| Tensor::norm(format!("{name}.{part}.weight"), len);
    tensors.extend([
        norm("input_layernorm", hidden),
        weight("self_attn.q_proj", wide, hidden),
        weight("self_attn.k_proj", narrow, hidden),
        weight("self_attn.v_proj", narrow, hidden),
        weight("self_attn.o_proj", hidden, wide).onto_residual(layers),
        norm("post_attention_layernorm", hidden),
        weight("mlp.gate_proj", inner, hidden),
        weight("mlp.up_proj", inner, hidden),
        weight("mlp.down_proj", hidden, inner).onto_residual(layers),
    ]);
    match shape.model_type.as_str() {
        "qwen2" | "qwen2_5_vl" => {
            let bias = |part: &str, len: usize| Tensor::bias(format!("{name}.self_attn.{part}.bias"), len);
            tensors.extend([bias("q_proj", wide), bias("k_proj", narrow), bias("v_proj", narrow)]);
        }
        "qwen3" => {
            let head = shape.head_dim();
            tensors.extend([norm("self_attn.q_norm", head), norm("self_attn.k_norm", head)]);
        }
        _ => {}
    }
}
