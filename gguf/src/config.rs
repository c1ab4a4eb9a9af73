//! Conversion of metadata into `config.json` and `generation_config.json`.

use serde_json::{Map, Value as Json, json};

use crate::architecture::Architecture;
use crate::error::{GgufError, Problem};
use crate::file::Gguf;
use crate::names::{EMBEDDING, HEAD, ROPE_DIVISORS};
use crate::tensor_type::TensorType;

/// Default of `rope.freq_base`, as in llama.cpp.
const ROPE_THETA: f64 = 10_000.0;

/// Keys that would change the computation and are not implemented, each with its neutral value.
const UNSUPPORTED: [(&str, f64); 11] = [
    ("expert_count", 0.0),
    ("attention.scale", 0.0),
    ("attention.clamp_kqv", 0.0),
    ("attention.max_alibi_bias", 0.0),
    ("attn_logit_softcapping", 0.0),
    ("final_logit_softcapping", 0.0),
    ("logit_scale", 1.0),
    ("embedding_scale", 1.0),
    ("residual_scale", 1.0),
    ("rope.scaling.attn_factor", 1.0),
    ("pooling_type", 0.0),
];

impl Gguf {
    /// The `config.json` of the same model. Architectures and keys that this version does not implement are refused by
    /// name. Divisors of the rotary frequencies are not included: see [`Gguf::rope_divisors`].
    pub fn config(&self) -> Result<Json, GgufError> {
        self.config_object().map(Json::Object).map_err(|problem| self.refused(problem))
    }

    /// The `generation_config.json` of the same model: the tokens that end an answer.
    pub fn generation_config(&self) -> Result<Json, GgufError> {
        let ids = self.end_tokens().map_err(|problem| self.refused(problem))?;
        Ok(if ids.is_empty() { json!({}) } else { json!({ "eos_token_id": ids }) })
    }

    fn config_object(&self) -> Result<Map<String, Json>, Problem> {
        let architecture = self.architecture()?;
        let keys = Keys { gguf: self, prefix: architecture.name() };
        keys.refuse_unsupported()?;
        let heads = keys.needed("attention.head_count")?;
        let hidden = keys.needed("embedding_length")?;
        let positions = keys.needed("context_length")?;
        keys.refuse_windows(positions)?;
        let object = json!({
            "model_type": architecture.name(),
            "architectures": [architecture.class()],
            "dtype": self.stored_as(),
            "vocab_size": self.rows_of_embedding()?,
            "hidden_size": hidden,
            "intermediate_size": keys.needed("feed_forward_length")?,
            "num_hidden_layers": keys.needed("block_count")?,
            "num_attention_heads": heads,
            "num_key_value_heads": keys.count("attention.head_count_kv")?.unwrap_or(heads),
            "head_dim": keys.head_dim(hidden, heads)?,
            "max_position_embeddings": positions,
            "rms_norm_eps": keys.needed_number("attention.layer_norm_rms_epsilon")?,
            "rope_theta": keys.number("rope.freq_base")?.unwrap_or(ROPE_THETA),
            "rope_scaling": keys.rope_scaling()?,
            "attention_bias": architecture != Architecture::Qwen2 && self.has_tensor("blk.0.attn_q.bias"),
            "mlp_bias": self.has_tensor("blk.0.ffn_up.bias"),
            "tie_word_embeddings": !self.has_tensor(HEAD),
            "bos_token_id": self.count("tokenizer.ggml.bos_token_id")?,
            "eos_token_id": self.end_tokens()?,
        });
        let Json::Object(mut object) = object else { return Ok(Map::new()) };
        object.retain(|_, value| !value.is_null());
        Ok(object)
    }

    /// Number format for the `dtype` of the configuration: float32 or float16 if all matrices fit it, else bfloat16,
    /// also for block formats.
    fn stored_as(&self) -> &'static str {
        let matrices = self.tensors().values().filter(|tensor| tensor.shape.len() > 1);
        let kinds: Vec<TensorType> = matrices.map(|tensor| tensor.kind).collect();
        let all = |allowed: &[TensorType]| kinds.iter().all(|kind| allowed.contains(kind));
        if all(&[TensorType::F32]) {
            "float32"
        } else if all(&[TensorType::F32, TensorType::F16]) {
            "float16"
        } else {
            "bfloat16"
        }
    }

    pub(crate) fn rows_of_embedding(&self) -> Result<usize, Problem> {
        let embedding = self.tensors().get(EMBEDDING).ok_or_else(|| Problem::tensor(EMBEDDING, "is not there"))?;
        embedding.shape.first().copied().ok_or_else(|| Problem::tensor(EMBEDDING, "has no shape"))
    }

    pub(crate) fn has_tensor(&self, name: &str) -> bool {
        self.tensors().contains_key(name)
    }
}

/// Access to the keys of an architecture.
struct Keys<'a> {
    gguf: &'a Gguf,
    prefix: &'static str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn count(&self, name: &str) -> Result<Option<u32>, Problem> {
        self.gguf.count(&self.key(name))
    }

    fn number(&self, name: &str) -> Result<Option<f64>, Problem> {
        self.gguf.number(&self.key(name))
    }

    fn needed(&self, name: &str) -> Result<u32, Problem> {
        self.count(name)?.ok_or_else(|| Problem::MissingKey(self.key(name)))
    }

    fn needed_number(&self, name: &str) -> Result<f64, Problem> {
        self.number(name)?.ok_or_else(|| Problem::MissingKey(self.key(name)))
    }

    /// The width of a head. Rotary embedding of only a part of a head, and values of another width than keys, are
    /// refused.
    fn head_dim(&self, hidden: u32, heads: u32) -> Result<u32, Problem> {
        let head_dim = self.count("attention.key_length")?.unwrap_or(hidden / heads.max(1));
        for name in ["rope.dimension_count", "attention.value_length"] {
            if let Some(other) = self.count(name)?.filter(|other| *other != head_dim) {
                let problem = format!("{other} is not supported, only the {head_dim} of a whole head");
                return Err(Problem::key(self.key(name), problem));
            }
        }
        Ok(head_dim)
    }

    /// The `rope_scaling` of the configuration. Only linear scaling is supported; like llama.cpp, this takes a factor
    /// without a type for linear.
    fn rope_scaling(&self) -> Result<Json, Problem> {
        let key = self.key("rope.scaling.type");
        let kind = self.gguf.text(&key)?;
        let factor = self.number("rope.scaling.factor")?.or(self.number("rope.scale_linear")?).filter(|it| *it != 0.0);
        match (kind, factor) {
            (Some("none"), _) | (None, None) => Ok(Json::Null),
            (Some("linear") | None, Some(factor)) if self.gguf.has_tensor(ROPE_DIVISORS) => {
                Err(Problem::key(key, format!("`linear` by {factor} together with {ROPE_DIVISORS} is not supported")))
            }
            (Some("linear") | None, Some(factor)) => Ok(json!({ "rope_type": "linear", "factor": factor })),
            (Some("linear"), None) => Err(Problem::MissingKey(self.key("rope.scaling.factor"))),
            (Some(other), _) => Err(Problem::key(key, format!("`{other}` is not supported, only `none` and `linear`"))),
        }
    }

    /// Refuses models with a sliding window: llama.cpp computes full attention for these architectures, the original
    /// models do not.
    fn refuse_windows(&self, positions: u32) -> Result<(), Problem> {
        match self.count("attention.sliding_window")? {
            Some(window) if window > 0 && window < positions => {
                let problem = format!("a window of {window} in a context of {positions} is not supported");
                Err(Problem::key(self.key("attention.sliding_window"), problem))
            }
            _ => Ok(()),
        }
    }

    fn refuse_unsupported(&self) -> Result<(), Problem> {
        for (name, neutral) in UNSUPPORTED {
            if let Some(value) = self.number(name)?.filter(|value| *value != neutral && *value != 0.0) {
                return Err(Problem::key(self.key(name), format!("{value} is not supported")));
            }
        }
        for (name, supported) in [("attention.causal", true), ("use_parallel_residual", false)] {
            let key = self.key(name);
            if self.gguf.flag(&key)?.is_some_and(|value| value != supported) {
                return Err(Problem::key(key, format!("only {supported} is supported")));
            }
        }
        let key = self.key("tensor_data_layout");
        match self.gguf.text(&key)? {
            None | Some("reference" | "Meta AI original pth") => Ok(()),
            Some(other) => Err(Problem::key(key, format!("`{other}` is not supported"))),
        }
    }
}

#[cfg(test)]
mod tests;
