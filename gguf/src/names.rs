//! Mapping of llama.cpp's tensor names to those of transformers for the same weights.

use crate::architecture::Architecture;
use crate::error::{GgufError, Problem};
use crate::file::{Gguf, TensorInfo};

pub(crate) const EMBEDDING: &str = "token_embd.weight";
/// Tensor of the output head; missing if the head is tied to the embedding.
pub(crate) const HEAD: &str = "output.weight";
/// Tensor of the divisors of the rotary frequencies, one per pair.
pub(crate) const ROPE_DIVISORS: &str = "rope_freqs.weight";

/// Names of a block's parts, in a file and in transformers.
const PARTS: [(&str, &str); 11] = [
    ("attn_norm", "input_layernorm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// A tensor with its name in transformers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedTensor {
    /// Name of the tensor in the file.
    pub stored: String,
    /// Name of the tensor in transformers, for example `model.layers.0.self_attn.q_proj.weight`.
    pub name: String,
    /// Type, shape and place of the tensor in the file.
    pub info: TensorInfo,
    /// Order of the tensor's rows in the file.
    pub rows: RowOrder,
}

/// The order of a tensor's rows in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowOrder {
    /// The order of transformers.
    Same,
    /// The order of Llama's queries and keys. Rotary embedding rotates pairs of rows of a head. llama.cpp stores the
    /// two rows of a pair side by side, transformers first the first rows of all pairs and then the second ones.
    Paired {
        /// Number of heads that the rows are divided among.
        heads: usize,
    },
}

impl RowOrder {
    /// Index in the file of the row that has index `row`, of `rows`, in transformers' order.
    pub fn stored(self, row: usize, rows: usize) -> usize {
        match self {
            RowOrder::Same => row,
            RowOrder::Paired { heads } => {
                let width = rows / heads;
                let (head, within) = (row / width, row % width);
                let (half, pair) = (within / (width / 2), within % (width / 2));
                head * width + 2 * pair + half
            }
        }
    }
}

impl Gguf {
    /// Every tensor of the language model. A tensor that the architecture has no place for is refused by name.
    pub fn named_tensors(&self) -> Result<Vec<NamedTensor>, GgufError> {
        let named = || -> Result<Vec<NamedTensor>, Problem> {
            let architecture = self.architecture()?;
            let tensors = self.tensors().iter().filter(|(name, _)| *name != ROPE_DIVISORS);
            tensors.map(|(name, info)| self.named(architecture, name, info)).collect()
        };
        named().map_err(|problem| self.refused(problem))
    }

    fn named(&self, architecture: Architecture, stored: &str, info: &TensorInfo) -> Result<NamedTensor, Problem> {
        let name = transformers_name(stored)
            .ok_or_else(|| Problem::tensor(stored, "is none that this version has a place for"))?;
        let rows = match architecture {
            Architecture::Llama => self.llama_rows(stored, info)?,
            Architecture::Qwen2 | Architecture::Qwen3 => RowOrder::Same,
        };
        Ok(NamedTensor { stored: stored.to_owned(), name, info: info.clone(), rows })
    }

    fn llama_rows(&self, stored: &str, info: &TensorInfo) -> Result<RowOrder, Problem> {
        let heads = if stored.contains(".attn_q.") {
            self.count("llama.attention.head_count")?
        } else if stored.contains(".attn_k.") {
            self.count("llama.attention.head_count_kv")?.or(self.count("llama.attention.head_count")?)
        } else {
            return Ok(RowOrder::Same);
        };
        let heads = heads.ok_or_else(|| Problem::MissingKey("llama.attention.head_count".to_owned()))? as usize;
        let rows = info.shape.first().copied().unwrap_or(0);
        if heads == 0 || !rows.is_multiple_of(2 * heads) {
            return Err(Problem::tensor(stored, format!("its {rows} rows are not pairs of {heads} heads")));
        }
        Ok(RowOrder::Paired { heads })
    }
}

fn transformers_name(stored: &str) -> Option<String> {
    match stored {
        EMBEDDING => return Some("model.embed_tokens.weight".to_owned()),
        HEAD => return Some("lm_head.weight".to_owned()),
        "output_norm.weight" => return Some("model.norm.weight".to_owned()),
        _ => {}
    }
    let (block, part) = stored.strip_prefix("blk.")?.split_once('.')?;
    let block: u32 = block.parse().ok()?;
    let (part, kind) = part.rsplit_once('.').filter(|(_, kind)| ["weight", "bias"].contains(kind))?;
    let (_, name) = PARTS.iter().find(|(known, _)| *known == part)?;
    Some(format!("model.layers.{block}.{name}.{kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_transformers() {
        let of = |stored| transformers_name(stored).unwrap();
        assert_eq!(of("token_embd.weight"), "model.embed_tokens.weight");
        assert_eq!(of("output.weight"), "lm_head.weight");
        assert_eq!(of("blk.12.ffn_norm.weight"), "model.layers.12.post_attention_layernorm.weight");
        assert_eq!(of("blk.0.attn_k.bias"), "model.layers.0.self_attn.k_proj.bias");
        for strange in
            ["blk.0.ffn_gate_exps.weight", "blk.x.attn_q.weight", "v.patch_embd.weight", "blk.0.attn_q.scale"]
        {
            assert_eq!(transformers_name(strange), None, "{strange}");
        }
    }

    /// The test permutes rows like `permute` in llama.cpp's converter, w.reshape(heads, 2, width / 2).swapaxes(1, 2),
    /// and restores them.
    #[test]
    fn llamas_rows_are_put_back() {
        let (heads, width) = (3, 8);
        let rows = heads * width;
        let converted: Vec<usize> = (0..rows)
            .map(|row| {
                let (head, within) = (row / width, row % width);
                head * width + (within % 2) * (width / 2) + within / 2
            })
            .collect();
        let order = RowOrder::Paired { heads };
        let restored: Vec<usize> = (0..rows).map(|row| converted[order.stored(row, rows)]).collect();
        assert_eq!(restored, (0..rows).collect::<Vec<_>>());
        assert_eq!(RowOrder::Same.stored(5, rows), 5);
    }
}
