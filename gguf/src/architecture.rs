//! The supported architectures and the keys by which a file names its own.

use crate::error::Problem;
use crate::file::Gguf;

/// A supported architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Architecture {
    /// Llama and Mistral, which llama.cpp does not distinguish.
    Llama,
    Qwen2,
    Qwen3,
}

impl Architecture {
    const ALL: [Architecture; 3] = [Architecture::Llama, Architecture::Qwen2, Architecture::Qwen3];

    /// The architecture's name in files, which is also the prefix of its keys and transformers' `model_type`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Architecture::Llama => "llama",
            Architecture::Qwen2 => "qwen2",
            Architecture::Qwen3 => "qwen3",
        }
    }

    /// The class in transformers.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Architecture::Llama => "LlamaForCausalLM",
            Architecture::Qwen2 => "Qwen2ForCausalLM",
            Architecture::Qwen3 => "Qwen3ForCausalLM",
        }
    }
}

impl Gguf {
    /// The architecture of the file's model.
    pub(crate) fn architecture(&self) -> Result<Architecture, Problem> {
        let kind = self.text("general.type")?.unwrap_or("model");
        if kind != "model" {
            return Err(Problem::key("general.type", format!("`{kind}` is not supported, only `model`")));
        }
        let key = "general.architecture";
        let name = self.text(key)?.ok_or_else(|| Problem::MissingKey(key.to_owned()))?;
        Architecture::ALL.into_iter().find(|known| known.name() == name).ok_or_else(|| {
            let known = Architecture::ALL.map(Architecture::name).join("`, `");
            Problem::key(key, format!("`{name}` is not supported, only `{known}`"))
        })
    }
}
