//! Where the slots of a sequence lie, and which of them a row sees.

use super::kernel::{CHUNK, PARTITION};
use super::{KvGeometry, Run};
use crate::simd::prefetch;

/// K or V.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    K,
    V,
}

/// Addresses of one head's part of the slots of a chunk that starts at slot `first`: null outside `there`.
#[inline(always)]
pub(super) fn addresses(
    run: &Run<'_>,
    geometry: &KvGeometry,
    side: Side,
    head: usize,
    first: usize,
    there: &std::ops::Range<usize>,
) -> [*const u8; CHUNK] {
    let mut slots = [std::ptr::null(); CHUNK];
    let (token, tokens) = (geometry.token_bytes(), geometry.block_tokens);
    let at_head = head * geometry.head_dim * geometry.format.bytes();
    let mut slot = first.max(there.start);
    let end = (first + CHUNK).min(there.end);
    while slot < end {
        let block = &run.blocks[slot / tokens];
        let start = if side == Side::K { block.k } else { block.v }.cast_const().wrapping_add(at_head);
        let offset = slot % tokens;
        let count = (tokens - offset).min(end - slot);
        for (i, address) in slots[slot - first..][..count].iter_mut().enumerate() {
            *address = start.wrapping_add((offset + i) * token);
        }
        slot += count;
    }
    slots
}

/// Asks for the part `part` of `parts` of the slots from..to (all heads, in the order they lie) to be brought to L2.
#[inline(always)]
pub(super) fn fetch(
    run: &Run<'_>,
    geometry: &KvGeometry,
    side: Side,
    slots: std::ops::Range<usize>,
    part: usize,
    parts: usize,
) {
    let (token, tokens) = (geometry.token_bytes(), geometry.block_tokens);
    let count = slots.len();
    for slot in slots.start + count * part / parts..slots.start + count * (part + 1) / parts {
        let block = &run.blocks[slot / tokens];
        let start = if side == Side::K { block.k } else { block.v }.cast_const();
        let start = start.wrapping_add(slot % tokens * token);
        for line in (0..token).step_by(64) {
            prefetch(start.wrapping_add(line));
        }
    }
}

/// The slots that rows `rows` of a run see (some of them), never empty.
#[inline(always)]
pub(super) fn seen(run: &Run<'_>, window: Option<usize>, rows: std::ops::Range<usize>) -> std::ops::Range<usize> {
    let first = run.slot + rows.start;
    // A row sees itself in any window.
    window.map_or(0, |w| (first + 1).saturating_sub(w.max(1)))..run.slot + rows.end
}

/// The part of `slots` in a partition, relative to its start; empty ones may lie anywhere in it.
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

/// The partitions that cover `slots`, which are not empty.
#[inline(always)]
pub(super) fn partitions(slots: &std::ops::Range<usize>) -> std::ops::Range<usize> {
    slots.start / PARTITION..slots.end.div_ceil(PARTITION)
}
