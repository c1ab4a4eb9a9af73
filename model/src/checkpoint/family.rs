//! The families of language models: their names, and the defaults of transformers for missing keys.

/// A family of decoder-only language models. Families differ in defaults, biases, norms and attention windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    /// The language part of Qwen2.5-VL: a Qwen2 whose positions have three coordinates.
    Qwen25Vl,
}

/// The defaults of a family's configuration class.
pub(crate) struct Defaults {
    pub vocab: usize,
    pub hidden: usize,
    pub intermediate: usize,
    pub layers: usize,
    pub heads: usize,
    /// Key-value heads; `None` stands for the number of query heads.
    pub kv_heads: Option<usize>,
    /// Head width; `None` stands for the residual width divided by the number of heads.
    pub head_dim: Option<usize>,
    pub max_positions: usize,
    pub norm_epsilon: f64,
    pub rope_theta: f64,
    /// The first layer with a sliding window, where the family has one.
    pub max_window_layers: usize,
    pub eos_token_id: Option<u32>,
}

/// Default of `sliding_window` where it is in use and not typed; the same in all families that have it.
pub(crate) const SLIDING_WINDOW: usize = 4096;

impl Family {
    /// The family of a text-only checkpoint with that `model_type`.
    pub fn from_model_type(name: &str) -> Option<Family> {
        match name {
            "llama" => Some(Family::Llama),
            "mistral" => Some(Family::Mistral),
            "qwen2" => Some(Family::Qwen2),
            "qwen3" => Some(Family::Qwen3),
            _ => None,
        }
    }

    /// The class name in transformers of the whole model with its language head.
    pub fn architecture(self) -> &'static str {
        match self {
            Family::Llama => "LlamaForCausalLM",
            Family::Mistral => "MistralForCausalLM",
            Family::Qwen2 => "Qwen2ForCausalLM",
            Family::Qwen3 => "Qwen3ForCausalLM",
            Family::Qwen25Vl => "Qwen2_5_VLForConditionalGeneration",
        }
    }

    pub fn defaults(self) -> Defaults {
        match self {
            Family::Llama => LLAMA,
            Family::Mistral => MISTRAL,
            Family::Qwen2 => QWEN2,
            Family::Qwen3 => Defaults { head_dim: Some(128), ..QWEN2 },
            Family::Qwen25Vl => QWEN25_VL,
        }
    }
}

const LLAMA: Defaults = Defaults {
    vocab: 32_000,
    hidden: 4096,
    intermediate: 11_008,
    layers: 32,
    heads: 32,
    kv_heads: None,
    head_dim: None,
    max_positions: 2048,
    norm_epsilon: 1e-6,
    rope_theta: 10_000.0,
    max_window_layers: 0,
    eos_token_id: Some(2),
};

const MISTRAL: Defaults =
    Defaults { intermediate: 14_336, kv_heads: Some(8), max_positions: 131_072, eos_token_id: Some(2), ..LLAMA };

const QWEN2: Defaults = Defaults {
    vocab: 151_936,
    intermediate: 22_016,
    kv_heads: Some(32),
    max_positions: 32_768,
    max_window_layers: 28,
    eos_token_id: None,
    ..LLAMA
};

const QWEN25_VL: Defaults = Defaults {
    vocab: 152_064,
    hidden: 8192,
    intermediate: 29_568,
    layers: 80,
    heads: 64,
    kv_heads: Some(8),
    norm_epsilon: 1e-5,
    rope_theta: 1_000_000.0,
    max_window_layers: 80,
    eos_token_id: Some(151_645),
    ..QWEN2
};
