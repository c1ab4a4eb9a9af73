//! A block as a differentiable function of its weights.
//!
//! Keys and values are inputs, already rotated; the weights that produce them are not trained.

use candle_core::{D, Device, Tensor, Var};

use crate::calibrate::merge::rows::Rows;
use crate::error::{ModelError, Result};
use crate::language::{Block, BlockTensor};

/// Prefixes of the tensors that produce keys and values, which must not change.
const FROZEN: [&str; 4] = ["input_layernorm.", "self_attn.k_proj.", "self_attn.v_proj.", "self_attn.k_norm."];

/// Attention shape of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// Epsilon that norms add to a mean square.
    pub epsilon: f64,
}

/// The block in training.
pub(super) struct Student {
    shape: Shape,
    query: Affine,
    query_norm: Option<Tensor>, // [head_dim]
    output: Affine,
    before_mlp: Tensor, // [hidden]
    gate: Affine,
    up: Affine,
    down: Affine,
    /// Every tensor, with its variable unless the tensor is frozen.
    tensors: Vec<(BlockTensor, Option<Var>)>,
}

/// The map `x W^T + b`; `W` is held as [outputs, inputs].
struct Affine {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Student {
    /// A student that starts from the block's own weights.
    pub fn new(block: &Block, shape: Shape) -> Result<Student> {
        let mut tensors = Vec::new();
        for tensor in block.tensors() {
            let is_frozen = FROZEN.iter().any(|part| tensor.name.starts_with(part));
            let variable = || Var::from_vec(tensor.data.clone(), tensor.shape.clone(), &Device::Cpu);
            let variable = (!is_frozen).then(variable).transpose()?;
            tensors.push((tensor, variable));
        }
        // A clone shares the variable's storage and identity, so it sees every later update.
        let find = |name: String| {
            let found = tensors.iter().find(|(tensor, _)| tensor.name == name);
            found.and_then(|(_, variable)| variable.as_ref()).map(|variable| variable.as_tensor().clone())
        };
        let need = |name: String| find(name.clone()).ok_or(ModelError::MissingTensor { name });
        let affine = |name: &str| {
            let (weight, bias) = (need(format!("{name}.weight"))?, find(format!("{name}.bias")));
            Ok::<_, ModelError>(Affine { weight, bias })
        };
        Ok(Student {
            shape,
            query: affine("self_attn.q_proj")?,
            query_norm: find("self_attn.q_norm.weight".to_owned()),
            output: affine("self_attn.o_proj")?,
            before_mlp: need("post_attention_layernorm.weight".to_owned())?,
            gate: affine("mlp.gate_proj")?,
            up: affine("mlp.up_proj")?,
            down: affine("mlp.down_proj")?,
            tensors,
        })
    }

    /// The trained variables, in a fixed order.
    pub fn variables(&self) -> Vec<Var> {
        self.tensors.iter().filter_map(|(_, variable)| variable.clone()).collect()
    }

    /// All tensors with their current values.
    pub fn tensors(&self) -> Result<Vec<BlockTensor>> {
        let now = |(tensor, variable): &(BlockTensor, Option<Var>)| {
            let data = match variable {
                Some(variable) => variable.flatten_all()?.to_vec1()?,
                None => tensor.data.clone(),
            };
            Ok(BlockTensor { data, ..tensor.clone() })
        };
        self.tensors.iter().map(now).collect()
    }

    /// The residual stream after the block, for the rows of the given samples one after another, [rows, hidden].
    pub fn forward(&self, samples: &[&Rows]) -> Result<Tensor> {
        let queries = self.queries(samples)?;
        let (mut mixed, mut start) = (Vec::with_capacity(samples.len()), 0);
        for sample in samples {
            mixed.push(self.attend(&queries.narrow(0, start, sample.len())?, sample)?);
            start += sample.len();
        }
        let x = join(samples, |sample| &sample.x)?;
        let x = (x + self.output.forward(&Tensor::cat(&mixed, 0)?)?)?;
        let normed = self.norm(&x, &self.before_mlp)?;
        let inner = (self.gate.forward(&normed)?.silu()? * self.up.forward(&normed)?)?;
        Ok((x + self.down.forward(&inner)?)?)
    }

    /// Queries after rotary embedding, [rows, heads, head_dim].
    fn queries(&self, samples: &[&Rows]) -> Result<Tensor> {
        let Shape { heads, head_dim, .. } = self.shape;
        let normed = join(samples, |sample| &sample.normed)?;
        let mut queries = self.query.forward(&normed)?.reshape(((), heads, head_dim))?;
        if let Some(weight) = &self.query_norm {
            queries = self.norm(&queries, weight)?;
        }
        let (cos, sin) = (join(samples, |sample| &sample.cos)?, join(samples, |sample| &sample.sin)?);
        let (low, high) =
            (queries.narrow(D::Minus1, 0, head_dim / 2)?, queries.narrow(D::Minus1, head_dim / 2, head_dim / 2)?);
        let turned_low = (low.broadcast_mul(&cos)? - high.broadcast_mul(&sin)?)?;
        let turned_high = (high.broadcast_mul(&cos)? + low.broadcast_mul(&sin)?)?;
        Ok(Tensor::cat(&[turned_low, turned_high], D::Minus1)?)
    }

    /// Attention output of the rows of one sample; queries: [rows, heads, head_dim] -> [rows, heads * head_dim].
    fn attend(&self, queries: &Tensor, sample: &Rows) -> Result<Tensor> {
        let Shape { heads, kv_heads, head_dim, .. } = self.shape;
        let (rows, group, slots) = (sample.len(), heads / kv_heads, sample.mask.dims()[1]);
        // Consecutive query heads share one key head.
        let queries = queries.reshape((rows, kv_heads, group, head_dim))?.permute((1, 2, 0, 3))?.contiguous()?;
        let scale = 1.0 / (head_dim as f64).sqrt();
        let scores = (queries.reshape((kv_heads, group * rows, head_dim))?.matmul(&sample.keys)? * scale)?;
        let scores = scores.reshape((heads, rows, slots))?.broadcast_add(&sample.mask)?;
        let weights = candle_nn::ops::softmax(&scores, D::Minus1)?;
        let mixed = weights.reshape((kv_heads, group * rows, slots))?.matmul(&sample.values)?;
        let mixed = mixed.reshape((kv_heads, group, rows, head_dim))?.permute((2, 0, 1, 3))?.contiguous()?;
        Ok(mixed.reshape((rows, heads * head_dim))?)
    }

    /// RMSNorm over the last dimension.
    fn norm(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let square = x.sqr()?.mean_keepdim(D::Minus1)?;
        Ok(x.broadcast_div(&(square + self.shape.epsilon)?.sqrt()?)?.broadcast_mul(weight)?)
    }
}

impl Affine {
    /// Applies the map: [rows, inputs] -> [rows, outputs].
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let product = x.matmul(&self.weight.t()?)?;
        Ok(match &self.bias {
            Some(bias) => product.broadcast_add(bias)?,
            None => product,
        })
    }
}

/// Concatenates one tensor of each sample along its first dimension.
pub(super) fn join<'a>(samples: &[&'a Rows], part: impl Fn(&'a Rows) -> &'a Tensor) -> Result<Tensor> {
    let parts: Vec<&Tensor> = samples.iter().map(|sample| part(sample)).collect();
    Ok(Tensor::cat(&parts, 0)?)
}
