//! Check whether a node's weights and KV fit into free memory.

use secateur_model::{BLOCK_POSITIONS, ModelInfo, WeightMemory};

use super::{
    amounts::{bytes, grouped},
    check::Check,
};

/// The check's name.
pub const NAME: &str = "memory";

/// Memory that one node needs.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// Memory of the weights.
    pub weights: WeightMemory,
    /// Requested KV memory, in bytes; `None` for the default.
    pub kv: Option<u64>,
    /// Bytes of KV of one position in all blocks.
    pub kv_per_position: u64,
    /// Number of positions that the model has.
    pub max_positions: u64,
}

/// Memory that one node of the described model needs.
pub fn need(info: &ModelInfo, weights: WeightMemory, kv: Option<u64>) -> Need {
    let values = 2 * info.layers * info.kv_heads * info.head_dim;
    let kv_per_position = (values * info.dtype.size_bytes()) as u64;
    Need { weights, kv, kv_per_position, max_positions: info.max_positions as u64 }
}

/// Compares the need with free memory, which is `None` if the system does not report it.
pub fn verdict(need: &Need, free: Option<u64>, kv_default: u64) -> Check {
    let weights = need.weights.mapped + need.weights.own;
    let kv = need.kv.unwrap_or(kv_default);
    let positions = kv / need.kv_per_position.max(1);
    let found = format!(
        "a node takes {} for weights and {} for KV ({} positions of {}), {}",
        bytes(weights),
        bytes(kv),
        grouped(positions),
        bytes(need.kv_per_position),
        free.map_or_else(|| "what is free is not known here".to_owned(), |free| format!("{} is free", bytes(free)))
    );
    if positions < BLOCK_POSITIONS as u64 {
        let block = bytes(need.kv_per_position * BLOCK_POSITIONS as u64);
        return Check::failed(NAME, found, format!("give KV {block} at the very least with --kv-memory"));
    }
    if let Some(free) = free {
        if weights > free {
            let advice = "take a smaller checkpoint, or a machine with more memory; `--dtype bf16` halves weights that are \
                          f32, `--weights int8` halves them again";
            return Check::failed(NAME, found, advice);
        }
        if weights + kv > free {
            let advice = format!(
                "give KV {} at most with --kv-memory, or halve the weights with --weights int8; nodes on one machine share \
                 what is free",
                bytes(free - weights)
            );
            return Check::failed(NAME, found, advice);
        }
    }
    if positions < need.max_positions {
        Check::ok(NAME, found).with_advice(format!(
            "the model has {} positions; a request that needs more than {} is refused, so raise --kv-memory where prompts \
             are long",
            grouped(need.max_positions),
            grouped(positions)
        ))
    } else {
        Check::ok(NAME, found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn of(kv: Option<u64>, free: u64) -> Check {
        let weights = WeightMemory { mapped: GIB, own: GIB };
        // 128 KiB per position.
        let need = Need { weights, kv, kv_per_position: 128 << 10, max_positions: 8_192 };
        verdict(&need, Some(free), free / 4)
    }

    #[test]
    fn what_is_free_decides() {
        assert!(of(None, 8 * GIB).ok);
        let no_room = of(Some(7 * GIB), 8 * GIB);
        assert!(!no_room.ok && no_room.advice.contains("6.00 GiB at most"), "{no_room:?}");
        assert!(no_room.found.contains("2.00 GiB for weights and 7.00 GiB for KV (57,344 positions"), "{no_room:?}");
        let far_off = of(None, GIB);
        assert!(!far_off.ok && far_off.advice.contains("smaller checkpoint"), "{far_off:?}");
    }

    #[test]
    fn a_pool_may_be_too_small_as_well() {
        let short = of(Some(GIB / 2), 8 * GIB);
        assert!(short.ok && short.advice.contains("more than 4,096 is refused"), "{short:?}");
        assert!(!of(Some(1 << 20), 8 * GIB).ok);
    }
}
