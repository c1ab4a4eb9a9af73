//! Repairs: replacements for the removed blocks of a stage, and how a pass applies them.

use std::sync::Arc;

use crate::calibrate::phase::{Phase, Roles};
use crate::language::{Block, BlockTensor};

/// Replacement for one removed block.
#[derive(Clone, Debug)]
pub enum BlockRepair {
    /// A linear map.
    Linear(LinearRepair),
    /// New weights for the block before the removed one.
    Merged(MergedRepair),
}

impl BlockRepair {
    /// Index of the removed block.
    pub fn layer(&self) -> usize {
        match self {
            BlockRepair::Linear(repair) => repair.layer(),
            BlockRepair::Merged(repair) => repair.layer(),
        }
    }

    /// Remaining share, on rows that the fit did not see, of the squared distance between the stream where the removed
    /// block was and the unpruned model's stream after that block: 0 is perfect, 1 is no better than no repair.
    pub fn error(&self) -> f64 {
        match self {
            BlockRepair::Linear(repair) => repair.error(),
            BlockRepair::Merged(repair) => repair.error(),
        }
    }
}

/// The map `x + D x`, applied in the place of a removed block.
#[derive(Clone, Debug)]
pub struct LinearRepair {
    pub(super) layer: usize,
    pub(super) width: usize,
    /// `D`, [width outputs, width inputs], row-major.
    pub(super) delta: Vec<f32>,
    /// The value that [`LinearRepair::error`] returns.
    pub(super) error: f64,
}

impl LinearRepair {
    /// Index of the removed block.
    pub fn layer(&self) -> usize {
        self.layer
    }

    /// Number of inputs of `D`, and of its outputs: the residual width.
    pub fn width(&self) -> usize {
        self.width
    }

    /// `D`, [outputs, inputs], row-major.
    pub fn delta(&self) -> &[f32] {
        &self.delta
    }

    /// Remaining share of the squared distance between the stream before the removed block and the target stream after
    /// it, on rows that the fit did not see: 0 is perfect, 1 is no better than no repair.
    pub fn error(&self) -> f64 {
        self.error
    }

    /// Replaces each row of `x` by `x + D x`.
    fn apply(&self, x: &mut [f32]) {
        let mut before = vec![0.0; self.width];
        for row in x.chunks_exact_mut(self.width) {
            before.copy_from_slice(row);
            for (out, weights) in row.iter_mut().zip(self.delta.chunks_exact(self.width)) {
                *out += weights.iter().zip(&before).map(|(weight, value)| weight * value).sum::<f32>();
            }
        }
    }
}

/// New weights for the block before a removed one.
#[derive(Clone)]
pub struct MergedRepair {
    pub(super) layer: usize,
    pub(super) tensors: Vec<BlockTensor>,
    pub(super) block: Arc<Block>,
    pub(super) error: f64,
}

impl MergedRepair {
    /// The removed block.
    pub fn layer(&self) -> usize {
        self.layer
    }

    /// The block before it, which runs with the new weights.
    pub fn with(&self) -> usize {
        self.layer - 1
    }

    /// All weights of block `with`, unchanged ones included.
    pub fn tensors(&self) -> &[BlockTensor] {
        &self.tensors
    }

    /// Remaining share of the squared distance between the stream after block `with` and the unpruned model's stream
    /// after the removed block, on rows of samples that training did not see: 0 is perfect, 1 is no better than block
    /// `with` with its original weights, that is, than no repair.
    pub fn error(&self) -> f64 {
        self.error
    }

    fn block(&self) -> Arc<Block> {
        self.block.clone()
    }
}

impl std::fmt::Debug for MergedRepair {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "MergedRepair({} into {}, error {})", self.layer, self.with(), self.error)
    }
}

/// Repairs of removed blocks, by phase.
#[derive(Clone, Copy, Default)]
pub struct Repairs<'a> {
    /// Repairs for rows of prompts.
    pub prefill: &'a [BlockRepair],
    /// Repairs for rows of answers.
    pub decode: &'a [BlockRepair],
}

impl<'a> Repairs<'a> {
    pub(super) fn of(self, phase: Phase) -> &'a [BlockRepair] {
        match phase {
            Phase::Prefill => self.prefill,
            Phase::Decode => self.decode,
        }
    }
}

/// Blocks and repairs that prompts run.
#[derive(Clone, Copy)]
pub struct Prompts<'a> {
    /// Roles of the blocks.
    pub roles: &'a Roles,
    /// Repairs of the removed blocks.
    pub repairs: &'a [BlockRepair],
}

/// Applies the linear map of a removed block in its place, if it has one.
pub(super) fn apply(repairs: &[BlockRepair], layer: usize, x: &mut [f32]) {
    for repair in repairs {
        match repair {
            BlockRepair::Linear(repair) if repair.layer() == layer => repair.apply(x),
            _ => {}
        }
    }
}

/// The merged block, with new weights, that runs in the place of `layer`.
pub(super) fn stand_in(repairs: &[BlockRepair], layer: usize) -> Option<Arc<Block>> {
    repairs.iter().find_map(|repair| match repair {
        BlockRepair::Merged(repair) if repair.with() == layer => Some(repair.block()),
        _ => None,
    })
}
