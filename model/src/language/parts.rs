//! A block's weights as named f32 tensors, for training, and a block built from such tensors.

use secateur_kernels::{Format, Matrix, from_f32};

use crate::error::{ModelError, Result};
use crate::language::block::Block;

/// One tensor of a block, in f32.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockTensor {
    /// Name inside the block, as in checkpoints: `self_attn.q_proj.weight`.
    pub name: String,
    /// Dimensions: [outputs, inputs] of a matrix, [len] of a norm or a bias.
    pub shape: Vec<usize>,
    /// Values, row-major.
    pub data: Vec<f32>,
}

impl Block {
    /// All tensors of the block, under the names that [`Block::load`] reads.
    pub fn tensors(&self) -> Vec<BlockTensor> {
        let mut tensors = Vec::new();
        for (name, norm) in self.norms() {
            tensors.push(vector(format!("{name}.weight"), norm));
        }
        for (name, matrix) in self.matrices() {
            tensors.push(BlockTensor {
                name: format!("{name}.weight"),
                shape: vec![matrix.outputs(), matrix.inputs()],
                data: numbers(matrix),
            });
            tensors.extend(matrix.bias().map(|bias| vector(format!("{name}.bias"), bias)));
        }
        tensors
    }

    /// A block with the given tensors, in the formats of this one.
    pub fn with_tensors(&self, tensors: &[BlockTensor]) -> Result<Block> {
        let matrix = |name: &str, like: &Matrix| matrix_like(tensors, name, like);
        let vector = |name: &str, like: &[f32]| Ok::<_, ModelError>(find(tensors, name, &[like.len()])?.to_vec());
        let head_norms = self.head_norms.as_ref().map(|(query, key)| {
            Ok::<_, ModelError>((vector("self_attn.q_norm.weight", query)?, vector("self_attn.k_norm.weight", key)?))
        });
        Ok(Block {
            before_attention: vector("input_layernorm.weight", &self.before_attention)?,
            query: matrix("self_attn.q_proj", &self.query)?,
            key: matrix("self_attn.k_proj", &self.key)?,
            value: matrix("self_attn.v_proj", &self.value)?,
            head_norms: head_norms.transpose()?,
            output: matrix("self_attn.o_proj", &self.output)?,
            before_mlp: vector("post_attention_layernorm.weight", &self.before_mlp)?,
            gate: matrix("mlp.gate_proj", &self.gate)?,
            up: matrix("mlp.up_proj", &self.up)?,
            down: matrix("mlp.down_proj", &self.down)?,
            window: self.window,
        })
    }

    fn norms(&self) -> Vec<(&'static str, &[f32])> {
        let mut norms =
            vec![("input_layernorm", &self.before_attention[..]), ("post_attention_layernorm", &self.before_mlp[..])];
        if let Some((query, key)) = &self.head_norms {
            norms.extend([("self_attn.q_norm", &query[..]), ("self_attn.k_norm", &key[..])]);
        }
        norms
    }

    fn matrices(&self) -> [(&'static str, &Matrix); 7] {
        [
            ("self_attn.q_proj", &self.query),
            ("self_attn.k_proj", &self.key),
            ("self_attn.v_proj", &self.value),
            ("self_attn.o_proj", &self.output),
            ("mlp.gate_proj", &self.gate),
            ("mlp.up_proj", &self.up),
            ("mlp.down_proj", &self.down),
        ]
    }
}

fn vector(name: String, data: &[f32]) -> BlockTensor {
    BlockTensor { name, shape: vec![data.len()], data: data.to_vec() }
}

fn numbers(matrix: &Matrix) -> Vec<f32> {
    let mut data = vec![0.0; matrix.outputs() * matrix.inputs()];
    data.chunks_exact_mut(matrix.inputs()).enumerate().for_each(|(row, into)| matrix.row(row, into));
    data
}

fn find<'a>(tensors: &'a [BlockTensor], name: &str, shape: &[usize]) -> Result<&'a [f32]> {
    let tensor = tensors.iter().find(|tensor| tensor.name == name);
    let tensor = tensor.ok_or_else(|| ModelError::MissingTensor { name: name.to_owned() })?;
    if tensor.shape != shape {
        let (expected, found) = (shape.to_vec(), tensor.shape.clone());
        return Err(ModelError::Shape { name: name.to_owned(), expected, found });
    }
    Ok(&tensor.data)
}

fn matrix_like(tensors: &[BlockTensor], name: &str, like: &Matrix) -> Result<Matrix> {
    let unfit = |error: secateur_kernels::MatrixError| ModelError::config(name, error.to_string());
    let data = find(tensors, &format!("{name}.weight"), &[like.outputs(), like.inputs()])?;
    let format = like.format().unwrap_or(Format::F32);
    let mut bytes = vec![0; data.len() * format.bytes()];
    from_f32(format, data, &mut bytes);
    let matrix = Matrix::new(format, like.outputs(), like.inputs(), bytes.into()).map_err(unfit)?;
    match like.bias() {
        Some(bias) => matrix.with_bias(find(tensors, &format!("{name}.bias"), &[bias.len()])?.to_vec()).map_err(unfit),
        None => Ok(matrix),
    }
}
