//! Vision towers, and the maps from them to the language model.

use serde::Deserialize;

use super::tensor::{Tensor, affine};

/// The keys of CLIP's tower that determine shapes.
#[derive(Deserialize)]
pub struct Clip {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    image_size: usize,
    patch_size: usize,
}

/// The keys of Qwen2.5-VL's tower that determine shapes.
#[derive(Deserialize)]
pub struct Qwen {
    hidden_size: usize,
    intermediate_size: usize,
    depth: usize,
    patch_size: usize,
    temporal_patch_size: usize,
    spatial_merge_size: usize,
    out_hidden_size: usize,
}

/// The tensors of LLaVA's tower and projector, for a language model of width `language`.
pub fn clip(shape: &Clip, language: usize) -> Vec<Tensor> {
    let name = "vision_tower.vision_model";
    let (hidden, patch) = (shape.hidden_size, shape.patch_size);
    let grid = shape.image_size / patch;
    let mut tensors = vec![
        Tensor::weight(format!("{name}.embeddings.class_embedding"), &[hidden]),
        Tensor::weight(format!("{name}.embeddings.patch_embedding.weight"), &[hidden, 3, patch, patch]),
        Tensor::weight(format!("{name}.embeddings.position_embedding.weight"), &[grid * grid + 1, hidden]),
    ];
    // The misspelling is the checkpoints' own.
    tensors.extend(layer_norm(&format!("{name}.pre_layrnorm"), hidden));
    for layer in 0..shape.num_hidden_layers {
        clip_layer(shape, &format!("{name}.encoder.layers.{layer}"), &mut tensors);
    }
    tensors.extend(layer_norm(&format!("{name}.post_layernorm"), hidden));
    tensors.extend(affine("multi_modal_projector.linear_1", hidden, language));
    tensors.extend(affine("multi_modal_projector.linear_2", language, language));
    tensors
}

fn clip_layer(shape: &Clip, name: &str, tensors: &mut Vec<Tensor>) {
    let (hidden, inner, layers) = (shape.hidden_size, shape.intermediate_size, shape.num_hidden_layers);
    tensors.extend(layer_norm(&format!("{name}.layer_norm1"), hidden));
    for part in ["q_proj", "k_proj", "v_proj"] {
        tensors.extend(affine(&format!("{name}.self_attn.{part}"), hidden, hidden));
    }
    tensors.extend(onto_residual(affine(&format!("{name}.self_attn.out_proj"), hidden, hidden), layers));
    tensors.extend(layer_norm(&format!("{name}.layer_norm2"), hidden));
    tensors.extend(affine(&format!("{name}.mlp.fc1"), hidden, inner));
    tensors.extend(onto_residual(affine(&format!("{name}.mlp.fc2"), inner, hidden), layers));
}

/// The tensors of Qwen2.5-VL's tower and merger.
pub fn qwen(shape: &Qwen) -> Vec<Tensor> {
    let (hidden, patch) = (shape.hidden_size, shape.patch_size);
    let kernel = [hidden, 3, shape.temporal_patch_size, patch, patch];
    let mut tensors = vec![Tensor::weight("visual.patch_embed.proj.weight", &kernel)];
    for layer in 0..shape.depth {
        qwen_layer(shape, &format!("visual.blocks.{layer}"), &mut tensors);
    }
    let merged = shape.spatial_merge_size * shape.spatial_merge_size * hidden;
    tensors.push(Tensor::norm("visual.merger.ln_q.weight", hidden));
    tensors.extend(affine("visual.merger.mlp.0", merged, merged));
    tensors.extend(affine("visual.merger.mlp.2", merged, shape.out_hidden_size));
    tensors
}

fn qwen_layer(shape: &Qwen, name: &str, tensors: &mut Vec<Tensor>) {
    let (hidden, inner, layers) = (shape.hidden_size, shape.intermediate_size, shape.depth);
    tensors.push(Tensor::norm(format!("{name}.norm1.weight"), hidden));
    tensors.extend(affine(&format!("{name}.attn.qkv"), hidden, 3 * hidden));
    tensors.extend(onto_residual(affine(&format!("{name}.attn.proj"), hidden, hidden), layers));
    tensors.push(Tensor::norm(format!("{name}.norm2.weight"), hidden));
    tensors.extend(affine(&format!("{name}.mlp.gate_proj"), hidden, inner));
    tensors.extend(affine(&format!("{name}.mlp.up_proj"), hidden, inner));
    tensors.extend(onto_residual(affine(&format!("{name}.mlp.down_proj"), inner, hidden), layers));
}

fn onto_residual([weight, bias]: [Tensor; 2], layers: usize) -> [Tensor; 2] {
    [weight.onto_residual(layers), bias]
}

fn layer_norm(name: &str, hidden: usize) -> [Tensor; 2] {
    [Tensor::norm(format!("{name}.weight"), hidden), Tensor::bias(format!("{name}.bias"), hidden)]
}
