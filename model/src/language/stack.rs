//! One forward pass: embedding, this stage's set of blocks, head.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use secateur_kernels::{Attention, Cpu, Matrix};

use crate::checkpoint::{LanguageConfig, Weights};
use crate::error::{ModelError, Result};
use crate::kv::KvPool;
use crate::language::batch::Batch;
use crate::language::block::Block;
use crate::language::feed::{Feed, Input, PromptRow};
use crate::language::rope::Rope;
use crate::language::workspace::{Workspace, gather_rows, sized};

/// A language model without the blocks that its stage has removed.
pub(crate) struct Language {
    embedding: Arc<Matrix>, // [vocab, hidden]
    blocks: Vec<Block>,
    norm: Vec<f32>,    // [hidden]
    head: Arc<Matrix>, // hidden -> vocab
    rope: Rope,
    shape: Shape,
    cpu: Cpu,
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    vocab: usize,
    hidden: usize,
    intermediate: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    norm_epsilon: f32,
}

impl Shape {
    /// Columns of queries, of keys (and of values), of all three.
    fn columns(&self) -> (usize, usize, usize) {
        let (wide, narrow) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        (wide, narrow, wide + 2 * narrow)
    }
}

impl Language {
    /// Loads everything but the `removed` blocks.
    pub fn load(weights: &Weights, config: &LanguageConfig, removed: &BTreeSet<usize>) -> Result<Language> {
        let blocks = kept_layers(config.layers, removed)?
            .into_iter()
            .map(|layer| Block::load(weights, layer, config))
            .collect::<Result<Vec<_>>>()?;
        let embedding = Arc::new(weights.table("language.embed_tokens.weight", config.vocab, config.hidden)?);
        let head = match config.tied_embeddings {
            true => weights.tied_head("language.embed_tokens.weight", config.vocab, config.hidden, &embedding)?,
            false => Arc::new(weights.linear("lm_head", config.hidden, config.vocab, false)?),
        };
        Ok(Language {
            embedding,
            blocks,
            norm: weights.vector("language.norm.weight", config.hidden)?,
            head,
            rope: Rope::new(&config.rope, config.head_dim),
            shape: Shape {
                vocab: config.vocab,
                hidden: config.hidden,
                intermediate: config.intermediate,
                heads: config.heads,
                kv_heads: config.kv_heads,
                head_dim: config.head_dim,
                norm_epsilon: config.norm_epsilon,
            },
            cpu: weights.cpu().clone(),
        })
    }

    /// Indices, in the checkpoint, of the blocks that are here.
    pub fn kept_layers(&self) -> Vec<usize> {
        self.blocks.iter().map(|block| block.layer).collect()
    }

    /// Bytes of weights that one step reads.
    pub fn bytes_per_step(&self) -> usize {
        let of_block = |block: &Block| {
            let parts = [&block.query, &block.key, &block.value, &block.output, &block.gate, &block.up, &block.down];
            parts.into_iter().map(Matrix::bytes).sum::<usize>()
        };
        self.blocks.iter().map(of_block).sum::<usize>() + self.head.bytes()
    }

    /// The input embedding of one token, [hidden]. The id must be inside the vocabulary.
    pub fn embed(&self, token: u32, into: &mut [f32]) {
        self.embedding.row(token as usize, into);
    }

    /// Runs a batch. `on_layer` is told each block's place among the kept ones, in order, as soon as the block's KV of
    /// all rows is stored; `Break` ends the pass with [`ModelError::Cancelled`]. Logits of the wanted rows are left in
    /// the workspace.
    pub fn forward(
        &self,
        pool: &KvPool,
        feeds: &mut [Feed<'_>],
        space: &mut Workspace,
        on_layer: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<()> {
        if feeds.iter().any(|feed| !feed.table.is_of(pool)) {
            return Err(ModelError::cache("a table is of another pool"));
        }
        let mut batch = Batch::new(feeds, self.shape.vocab)?;
        self.embed_rows(feeds, &batch, space);
        for (slot, block) in self.blocks.iter().enumerate() {
            self.keys_and_values(block, &batch, space);
            // SAFETY: tables are of this pool, have room for the rows (checked in `Batch::new`), and hold blocks whose
            // slots from their length on nobody else may touch.
            batch.with_runs(feeds, slot, |runs| unsafe {
                let (wide, narrow, all) = self.shape.columns();
                let rows = &space.qkv[..batch.rows() * all];
                self.cpu.store_kv(pool.geometry(), rows, all, wide, wide + narrow, runs);
            });
            if on_layer(slot).is_break() {
                return Err(ModelError::Cancelled);
            }
            if slot + 1 == self.blocks.len() {
                batch = self.narrow(batch, space);
            }
            self.mix(block, slot, pool, feeds, &batch, space);
            self.think(block, batch.rows(), space);
        }
        self.logits(batch.rows(), space);
        for feed in feeds {
            let len = feed.table.len() + feed.input.len();
            feed.table.set_len(len)?;
        }
        Ok(())
    }

    /// The residual stream's first state, and the rows' lines in the rotary tables.
    fn embed_rows(&self, feeds: &[Feed<'_>], batch: &Batch, space: &mut Workspace) {
        let (hidden, pairs) = (self.shape.hidden, self.rope.pairs());
        let x = sized(&mut space.x, batch.rows() * hidden);
        let cos = sized(&mut space.cos, batch.rows() * pairs);
        let sin = sized(&mut space.sin, batch.rows() * pairs);
        let lines = x.chunks_exact_mut(hidden).zip(cos.chunks_exact_mut(pairs).zip(sin.chunks_exact_mut(pairs)));
        for ((row, position), (x, (cos, sin))) in feeds.iter().flat_map(rows_of).zip(lines) {
            match row {
                Source::Token(token) => self.embed(token, x),
                Source::Visual(embedding) => x.copy_from_slice(embedding),
            }
            self.rope.line(position, cos, sin);
        }
    }

    /// Queries, keys and values of all rows, turned to their positions.
    fn keys_and_values(&self, block: &Block, batch: &Batch, space: &mut Workspace) {
        let Shape { hidden, heads, kv_heads, head_dim, norm_epsilon, .. } = self.shape;
        let (wide, _, all) = self.shape.columns();
        let rows = batch.rows();
        let normed = sized(&mut space.normed, rows * hidden);
        self.cpu.rms_norm(&space.x[..rows * hidden], &block.before_attention, norm_epsilon, normed);
        let qkv = sized(&mut space.qkv, rows * all);
        self.cpu.project(normed, rows, &[&block.query, &block.key, &block.value], qkv, false);
        if let Some((query, key)) = &block.head_norms {
            self.cpu.head_norm(qkv, all, 0, heads, query, norm_epsilon);
            self.cpu.head_norm(qkv, all, wide, kv_heads, key, norm_epsilon);
        }
        let tables = rows * self.rope.pairs();
        let (cos, sin) = (&space.cos[..tables], &space.sin[..tables]);
        // Keys stand right behind queries, so both turn in one go.
        self.cpu.rotate(qkv, all, 0, heads + kv_heads, head_dim, cos, sin);
    }

    /// Behind the last block's KV, nothing but the wanted rows is needed.
    fn narrow(&self, batch: Batch, space: &mut Workspace) -> Batch {
        if batch.wanted().len() == batch.rows() {
            return batch;
        }
        gather_rows(&mut space.x, self.shape.hidden, batch.wanted());
        gather_rows(&mut space.qkv, self.shape.columns().2, batch.wanted());
        batch.only_wanted()
    }

    /// The attention half of a block.
    fn mix(&self, block: &Block, slot: usize, pool: &KvPool, feeds: &[Feed<'_>], batch: &Batch, space: &mut Workspace) {
        let Shape { hidden, heads, head_dim, .. } = self.shape;
        let (wide, _, all) = self.shape.columns();
        let rows = batch.rows();
        let mixed = sized(&mut space.mixed, rows * wide);
        batch.with_runs(feeds, slot, |runs| {
            let scale = 1.0 / (head_dim as f32).sqrt();
            let attention = Attention { geometry: pool.geometry(), heads, scale, window: block.window, runs };
            // SAFETY: as for storing; every slot up to each row's own is written.
            unsafe { self.cpu.attend(&attention, &space.qkv[..rows * all], all, 0, mixed) };
        });
        self.cpu.project(mixed, rows, &[&block.output], &mut space.x[..rows * hidden], true);
    }

    /// The MLP half of a block.
    fn think(&self, block: &Block, rows: usize, space: &mut Workspace) {
        let Shape { hidden, intermediate, norm_epsilon, .. } = self.shape;
        let x = &mut space.x[..rows * hidden];
        let normed = sized(&mut space.normed, rows * hidden);
        self.cpu.rms_norm(x, &block.before_mlp, norm_epsilon, normed);
        let inner = sized(&mut space.inner, rows * intermediate);
        self.cpu.gated(normed, rows, &block.gate, &block.up, inner);
        self.cpu.project(inner, rows, &[&block.down], x, true);
    }

    fn logits(&self, rows: usize, space: &mut Workspace) {
        let Shape { hidden, vocab, norm_epsilon, .. } = self.shape;
        let normed = sized(&mut space.normed, rows * hidden);
        self.cpu.rms_norm(&space.x[..rows * hidden], &self.norm, norm_epsilon, normed);
        space.logits.resize(rows * vocab, 0.0);
        self.cpu.project(normed, rows, &[&self.head], &mut space.logits, false);
    }
}

/// Where a row's embedding comes from.
enum Source<'a> {
    Token(u32),
    Visual(&'a [f32]),
}

/// The rows of a feed with their positions.
fn rows_of<'a>(feed: &'a Feed<'_>) -> Box<dyn Iterator<Item = (Source<'a>, [u32; 3])> + 'a> {
    match &feed.input {
        Input::Token { id, position } => Box::new(std::iter::once((Source::Token(*id), [*position; 3]))),
        Input::Prompt(prompt, range) => Box::new(range.clone().map(|at| {
            let source = match prompt.rows()[at] {
                PromptRow::Token(token) => Source::Token(token),
                PromptRow::Visual { picture, row, .. } => Source::Visual(prompt.visual_row(picture, row)),
            };
            (source, prompt.position(at))
        })),
    }
}

/// The blocks left of `layers`, in order.
fn kept_layers(layers: usize, removed: &BTreeSet<usize>) -> Result<Vec<usize>> {
    if let Some(&index) = removed.iter().find(|&&index| index >= layers) {
        return Err(ModelError::OutOfRange { what: "removed block", index, len: layers });
    }
    let kept: Vec<usize> = (0..layers).filter(|layer| !removed.contains(layer)).collect();
    if kept.is_empty() {
        return Err(ModelError::config("blocks_removed", "no block would be left"));
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_set_keeps_checkpoint_indices() {
        assert_eq!(kept_layers(5, &BTreeSet::from([1, 3])).unwrap(), [0, 2, 4]);
        assert!(kept_layers(2, &BTreeSet::from([2])).is_err());
        assert!(kept_layers(2, &BTreeSet::from([0, 1])).is_err());
    }
}
