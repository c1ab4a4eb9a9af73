//! GGUF files as checkpoints: the file that a path denotes, and its tensors as weights.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use secateur_gguf::{Gguf, NamedTensor, TensorType};

use crate::checkpoint::names;
use crate::checkpoint::stored::{Stored, StoredFormat};
use crate::error::{ModelError, Result};
use crate::float::FloatType;

/// The GGUF file that a checkpoint's path denotes; `None` if the path is a folder in the Hugging Face layout.
pub(crate) fn file(path: &Path) -> Result<Option<PathBuf>> {
    Ok(secateur_gguf::find(path)?)
}

/// Reads the header of the GGUF file that a checkpoint's path denotes, if it does.
pub(crate) fn open(path: &Path) -> Result<Option<Gguf>> {
    file(path)?.map(|file| Ok(Gguf::open(&file)?)).transpose()
}

/// The tensors of the file at `path`, whose content is `mapped`, each with its name in the file and its unified name.
pub(crate) fn tensors(path: &Path, mapped: &Bytes) -> Result<Vec<(String, String, Stored)>> {
    let tensor = |tensor: NamedTensor| {
        let range = tensor.info.bytes.start as usize..tensor.info.bytes.end as usize;
        let name = names::unified(&tensor.name).ok_or(ModelError::MissingTensor { name: tensor.name })?;
        let (bytes, format) = (mapped.slice(range), format(tensor.info.kind));
        Ok((tensor.stored, name, Stored { bytes, format, shape: tensor.info.shape, rows: tensor.rows }))
    };
    Gguf::read(path, mapped)?.named_tensors()?.into_iter().map(tensor).collect()
}

fn format(kind: TensorType) -> StoredFormat {
    match kind {
        TensorType::F32 => StoredFormat::Plain(FloatType::F32),
        TensorType::F16 => StoredFormat::Plain(FloatType::F16),
        TensorType::Bf16 => StoredFormat::Plain(FloatType::Bf16),
        blocks => StoredFormat::Blocks(blocks),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Config, Weights, fingerprint};
    use crate::float::WeightFormat;
    use secateur_kernels::Cpu;

    fn fixtures() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/gguf/models")
    }

    #[test]
    fn a_file_and_a_folder_of_one_are_the_same_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let source = fixtures().join("llama-q4_0.gguf");
        std::fs::copy(&source, dir.path().join("a.gguf")).unwrap();
        assert_eq!(Config::read(dir.path()).unwrap(), Config::read(&source).unwrap());
        assert_eq!(fingerprint(dir.path()).unwrap(), fingerprint(&source).unwrap());
    }

    #[test]
    fn every_byte_of_a_small_file_is_in_the_fingerprint() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.gguf");
        let mut bytes = std::fs::read(fixtures().join("llama-q4_0.gguf")).unwrap();
        std::fs::write(&path, &bytes).unwrap();
        let before = fingerprint(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_ne!(fingerprint(&path).unwrap(), before);
    }

    #[test]
    fn only_numbers_of_the_wanted_format_in_the_wanted_order_stay_in_the_file() {
        let open = |name: &str, format| {
            Weights::open(&fixtures().join(name), Cpu::new(1), format, WeightFormat::Native).unwrap()
        };
        let mapped = |weights: &Weights, format| -> u64 {
            weights.stored().filter(|(stored, _)| *stored == Some(format)).map(|(_, numbers)| numbers).sum()
        };
        // Llama's queries (32 by 32) and keys (16 by 32) are reordered row by row, in each of the two blocks.
        let plain = open("llama-f32.gguf", FloatType::F32);
        let all: u64 = plain.stored().map(|(_, numbers)| numbers).sum();
        assert_eq!(all - mapped(&plain, FloatType::F32), 2 * (32 * 32 + 16 * 32));
        let packed = open("qwen2-q5_0.gguf", FloatType::Bf16);
        assert_eq!(mapped(&packed, FloatType::Bf16), 0);
    }
}
