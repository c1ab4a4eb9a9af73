//! Addresses of a sequence's slots, and the ranges of slots that rows see.

use super::kernel::{CHUNK, PARTITION, Slots};
use super::params::{KvGeometry, Run};

/// One of the two sides of KV: keys or values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    K,
    V,
}

/// Addresses of the slots of the chunk that starts at slot `first`; null for slots outside `there`.
#[inline(always)]
pub(super) fn addresses(
    run: &Run<'_>,
    geometry: &KvGeometry,
    side: Side,
    first: usize,
    there: &std::ops::Range<usize>,
) -> Slots {
    let mut slots = [std::ptr::null(); CHUNK];
    let (token, tokens) = (geometry.token_bytes(), geometry.block_tokens);
    let mut slot = first.max(there.start);
    let end = (first + CHUNK).min(there.end);
    while slot < end {
        let block = &run.blocks[slot / tokens];
        let start = if side == Side::K { block.k } else { block.v }.cast_const();
        let offset = slot % tokens;
        let count = (tokens - offset).min(end - slot);
        for (i, address) in slots[slot - first..][..count].iter_mut().enumerate() {
            *address = start.wrapping_add((offset + i) * token);
        }
        slot += count;
    }
    slots
}

/// Addresses to prefetch while the slots of a chunk are packed for `head`, one per slot. The heads together fetch the
/// chunk with the slots `next` once, in memory order.
#[inline(always)]
pub(super) fn fetches(geometry: &KvGeometry, next: &Slots, head: usize) -> Slots {
    let mut fetch = [std::ptr::null(); CHUNK];
    let heads = geometry.kv_heads;
    let part = geometry.head_dim * geometry.format.bytes();
    let (mut slot, mut at) = (head * CHUNK / heads, head * CHUNK % heads);
    let mut i = 0;
    while i < CHUNK {
        let count = (heads - at).min(CHUNK - i);
        let start = next[slot].wrapping_add(at * part);
        for (j, address) in fetch[i..i + count].iter_mut().enumerate() {
            *address = start.wrapping_add(j * part);
        }
        i += count;
        (slot, at) = (slot + 1, 0);
    }
    fetch
}

/// The slots that at least one of the rows `rows` of a run sees; never empty.
#[inline(always)]
pub(super) fn seen(run: &Run<'_>, window: Option<usize>, rows: std::ops::Range<usize>) -> std::ops::Range<usize> {
    let first = run.slot + rows.start;
    // A row sees itself in any window.
    window.map_or(0, |w| (first + 1).saturating_sub(w.max(1)))..run.slot + rows.end
}

/// The part of `slots` in a partition, relative to the partition's start. If the part is empty, it may lie anywhere in
/// the partition.
#[inline(always)]
pub(super) fn within(slots: &std::ops::Range<usize>, partition: usize) -> std::ops::Range<usize> {
    let base = partition * PARTITION;
    slots.start.clamp(base, base + PARTITION) - base..slots.end.clamp(base, base + PARTITION) - base
}

/// The chunks of a partition that cover `slots`.
#[inline(always)]
pub(super) fn chunks(slots: &std::ops::Range<usize>) -> std::ops::Range<usize> {
    slots.start / CHUNK..slots.end.div_ceil(CHUNK)
}

/// The partitions that cover `slots`, which must not be empty.
#[inline(always)]
pub(super) fn partitions(slots: &std::ops::Range<usize>) -> std::ops::Range<usize> {
    slots.start / PARTITION..slots.end.div_ceil(PARTITION)
}
