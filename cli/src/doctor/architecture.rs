//! Check whether this version can run the model that a checkpoint's configuration describes, using the nodes' loader.

use std::path::Path;

use secateur_model::{FloatType, ModelError, ModelInfo};

use super::check::Check;

const NAME: &str = "architecture";
/// Advice for unsupported GGUF files.
const GGUF_ADVICE: &str = "GGUF files of llama (Mistral too), qwen2 and qwen3 are read, in one file, with tensors as F32, F16, \
                           BF16, Q4_0 to Q8_0 or Q2_K to Q6_K; take another edition, or the safetensors of the model";
const FAMILIES: &str = "Llama 2 and 3, Mistral, Qwen2 and 2.5, Qwen3, LLaVA-1.5, LLaVA-NeXT and Qwen2.5-VL";

/// Reads the configuration and returns the check and the description of the model.
pub fn examine(dir: &Path, dtype: Option<FloatType>) -> (Check, Option<ModelInfo>) {
    match ModelInfo::read(dir, dtype) {
        Ok(info) => (Check::ok(NAME, describe(&info)), Some(info)),
        Err(error) => (verdict(&error), None),
    }
}

fn describe(info: &ModelInfo) -> String {
    let pictures = match &info.vision {
        None => "no pictures".to_owned(),
        Some(vision) if vision.varies => format!("pictures of up to {} tokens", vision.tokens_per_image),
        Some(vision) => format!("pictures of {} tokens", vision.tokens_per_image),
    };
    format!(
        "{}, {} blocks, {} positions, {pictures}, computes in {}",
        info.architecture, info.layers, info.max_positions, info.dtype
    )
}

fn verdict(error: &ModelError) -> Check {
    match error {
        ModelError::Config { field, .. } => {
            let advice = format!(
                "`{field}` in config.json asks for what this version does not do; it runs {FAMILIES}. Take another \
                 checkpoint, or another edition of this one (not quantized, without the extra)"
            );
            Check::failed(NAME, error.to_string(), advice)
        }
        ModelError::Gguf(_) => Check::failed(NAME, error.to_string(), GGUF_ADVICE),
        ModelError::Json { .. } => {
            Check::failed(NAME, error.to_string(), "the file is damaged or edited; download it again")
        }
        _ => Check::failed(NAME, error.to_string(), "download the checkpoint again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_supported_is_named_by_its_field() {
        let problem = "`rope_type` yarn is not supported".to_owned();
        let check = verdict(&ModelError::Config { field: "rope_scaling".into(), problem });
        assert!(!check.ok && check.found.contains("yarn"), "{check:?}");
        assert!(check.advice.contains("`rope_scaling`") && check.advice.contains("Qwen2.5-VL"), "{check:?}");
        let missing = verdict(&ModelError::MissingTensor { name: "lm_head.weight".into() });
        assert!(missing.found.contains("lm_head.weight") && missing.advice.contains("again"));
    }
}
