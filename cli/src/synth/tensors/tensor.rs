//! A tensor before it has numbers.

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

    /// A matrix, or another tensor of normally distributed weights.
    pub fn weight(name: impl Into<String>, shape: &[usize]) -> Tensor {
        Tensor { name: name.into(), shape: shape.to_vec(), fill: Fill::Normal(STD) }
    }

    /// A bias of `len` numbers.
    pub fn bias(name: impl Into<String>, len: usize) -> Tensor {
        Tensor { name: name.into(), shape: vec![len], fill: Fill::Normal(BIAS_STD) }
    }

    /// The weight of a norm over `len` numbers.
    pub fn norm(name: impl Into<String>, len: usize) -> Tensor {
        Tensor { name: name.into(), shape: vec![len], fill: Fill::Ones }
    }

    /// Scales a matrix whose output a block adds to the residual stream, so that the stream's size does not depend on
    /// the number of blocks.
    pub fn onto_residual(self, layers: usize) -> Tensor {
        Tensor { fill: Fill::Normal(STD / (2.0 * layers as f32).sqrt()), ..self }
    }
}

/// Weight and bias of an affine map, `NAME.weight` [outputs, inputs] and `NAME.bias`.
pub fn affine(name: &str, inputs: usize, outputs: usize) -> [Tensor; 2] {
    [Tensor::weight(format!("{name}.weight"), &[outputs, inputs]), Tensor::bias(format!("{name}.bias"), outputs)]
}
