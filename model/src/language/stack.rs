//! One forward pass: embedding, this stage's set of blocks, head.

use std::sync::Arc;

use secateur_kernels::{Attention, Beside, Cpu, Matrix};

use crate::checkpoint::{LanguageConfig, Weights};
use crate::error::{ModelError, Result};
use crate::kv::KvPool;
use crate::language::batch::{Batch, LayerBlocks};
use crate::language::block::Block;
use crate::language::feed::{Feed, Input, PromptRow};
use crate::language::hooks::PassHooks;
use crate::language::rope::Rope;
use crate::language::workspace::{Workspace, gather_rows, scatter_rows, sized};
use crate::stage::{BlockRole, Stage};

/// A language model with the blocks of one stage.
pub(crate) struct Language {
    embedding: Arc<Matrix>, // [vocab, hidden]
    steps: Vec<Step>,
    norm: Vec<f32>,    // [hidden]
    head: Arc<Matrix>, // hidden -> vocab
    rope: Rope,
    shape: Shape,
    cpu: Cpu,
}

/// The computation in one block's place.
struct Step {
    /// Index of the block in the checkpoint, whichever other blocks are loaded.
    layer: usize,
    kind: Kind,
}

enum Kind {
    /// The block runs for every row.
    Whole(Block),
    /// The block runs for the rows whose logits are wanted; other rows only leave keys and values, and pass the map, if
    /// any.
    KeysAndValues(Block, Option<Matrix>),
    /// A linear map `x + D x` with `D`: hidden -> hidden.
    Linear(Matrix),
}

impl Step {
    /// The block whose KV is stored here, if there is one.
    fn block(&self) -> Option<&Block> {
        match &self.kind {
            Kind::Whole(block) | Kind::KeysAndValues(block, _) => Some(block),
            Kind::Linear(_) => None,
        }
    }
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
    /// Number of columns of queries, of keys (and of values), and of all three together.
    fn columns(&self) -> (usize, usize, usize) {
        let (wide, narrow) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        (wide, narrow, wide + 2 * narrow)
    }
}

impl Language {
    /// Loads the blocks that the stage runs; `repairs` holds its plan's replacements for blocks.
    pub fn load(
        weights: &Weights,
        config: &LanguageConfig,
        stage: &Stage,
        repairs: Option<&Weights>,
    ) -> Result<Language> {
        stage.check(config.layers)?;
        let mut steps = Vec::with_capacity(config.layers);
        for layer in 0..config.layers {
            if let Some(kind) = load_step(weights, config, layer, stage.role(layer), repairs)? {
                steps.push(Step { layer, kind });
            }
        }
        let (embedding, head) = load_ends(weights, config)?;
        Ok(Language {
            embedding,
            steps,
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

    /// Indices, in the checkpoint, of the blocks that have KV here.
    pub fn kv_layers(&self) -> Vec<usize> {
        self.steps.iter().filter(|step| step.block().is_some()).map(|step| step.layer).collect()
    }

    /// A block that runs here, by its index in the checkpoint.
    pub fn block(&self, layer: usize) -> Option<&Block> {
        self.steps.iter().find(|step| step.layer == layer)?.block()
    }

    /// Epsilon that norms add to a mean square.
    pub fn norm_epsilon(&self) -> f32 {
        self.shape.norm_epsilon
    }

    /// Rotary cosines and sines of a row at that position, each [head_dim / 2].
    pub fn rotation(&self, position: [u32; 3]) -> (Vec<f32>, Vec<f32>) {
        let (mut cos, mut sin) = (vec![0.0; self.rope.pairs()], vec![0.0; self.rope.pairs()]);
        self.rope.line(position, &mut cos, &mut sin);
        (cos, sin)
    }

    /// Sliding window of each block that has KV here: how many last slots a row sees; `None` if it sees all.
    pub fn windows(&self) -> impl Iterator<Item = Option<usize>> + '_ {
        self.steps.iter().filter_map(Step::block).map(|block| block.window)
    }

    /// Bytes of weights that one step reads.
    pub fn bytes_per_step(&self) -> usize {
        let of_step = |step: &Step| match &step.kind {
            Kind::Whole(block) | Kind::KeysAndValues(block, _) => block.bytes(),
            Kind::Linear(matrix) => matrix.bytes(),
        };
        self.steps.iter().map(of_step).sum::<usize>() + self.head.bytes()
    }

    /// The input embedding of one token, [hidden]. The id must be inside the vocabulary.
    pub fn embed(&self, token: u32, into: &mut [f32]) {
        self.embedding.row(token as usize, into);
    }

    /// Runs a batch. States and logits of the wanted rows are left in the workspace.
    pub fn forward(
        &self,
        pool: &KvPool,
        feeds: &mut [Feed<'_>],
        space: &mut Workspace,
        hooks: &mut dyn PassHooks,
    ) -> Result<()> {
        if feeds.iter().any(|feed| !feed.table.is_of(pool)) {
            return Err(ModelError::cache("a table is of another pool"));
        }
        let mut batch = Batch::new(feeds, self.shape.vocab)?;
        self.embed_rows(feeds, &batch, space);
        let first = hooks.start(&mut space.x[..batch.rows() * self.shape.hidden]);
        let runs = |step: &Step| step.layer >= first && *hooks.role(step.layer) != BlockRole::Skip;
        let last = self.steps.iter().rposition(runs);
        let mut slot = 0;
        for (at, step) in self.steps.iter().enumerate() {
            let own_slot = slot;
            slot += usize::from(step.block().is_some());
            if step.layer < first {
                continue;
            }
            hooks.residual(step.layer, &space.x[..batch.rows() * self.shape.hidden]);
            let whole = match (hooks.role(step.layer), &step.kind) {
                (BlockRole::Skip, _) => {
                    hooks.skipped(step.layer, &mut space.x[..batch.rows() * self.shape.hidden]);
                    continue;
                }
                (_, Kind::Linear(map)) => {
                    self.map(map, batch.rows(), space);
                    continue;
                }
                (BlockRole::KeysAndValues { .. }, _) | (_, Kind::KeysAndValues(..)) => false,
                _ => true,
            };
            let stand_in = hooks.stand_in(step.layer);
            let Some(block) = stand_in.as_deref().or(step.block()) else { continue };
            let blocks = LayerBlocks::gather(feeds, own_slot);
            self.keys_and_values(block, &batch, space);
            hooks.attention(step.layer, &space.qkv[..batch.rows() * self.shape.columns().2]);
            self.store(pool, &batch, &blocks, space);
            hooks.stored(own_slot);
            if !whole {
                let stream = self.run_wanted(block, pool, &batch, &blocks, space);
                match &step.kind {
                    Kind::KeysAndValues(_, Some(map)) => self.map(map, batch.rows(), space),
                    _ => hooks.skipped(step.layer, &mut space.x[..batch.rows() * self.shape.hidden]),
                }
                scatter_rows(&stream, &mut space.x, self.shape.hidden, batch.wanted());
                continue;
            }
            // A last block that the pass leaves out needs the stream of every row, so the batch is not narrowed before
            // it.
            if Some(at) == last && at + 1 == self.steps.len() && !hooks.looks() {
                batch = self.narrow(batch, space);
            }
            self.attention(block, pool, &batch, &blocks, space);
            self.mlp(block, batch.rows(), space);
        }
        hooks
            .residual(self.steps.last().map_or(0, |step| step.layer + 1), &space.x[..batch.rows() * self.shape.hidden]);
        batch = self.narrow(batch, space);
        self.states(batch.rows(), space);
        self.logits(&batch, space, hooks.beside_head());
        for feed in feeds {
            let len = feed.table.len() + feed.input.len();
            feed.table.set_len(len)?;
        }
        Ok(())
    }

    /// Computes the first residual stream, and each row's rotary cosines and sines.
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

    /// Computes queries, keys and values of all rows, rotated to their positions.
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
        // Keys are stored directly after queries, so both are rotated in one call.
        self.cpu.rotate(qkv, all, 0, heads + kv_heads, head_dim, cos, sin);
    }

    /// Writes keys and values into the layer's blocks.
    fn store(&self, pool: &KvPool, batch: &Batch, blocks: &LayerBlocks, space: &mut Workspace) {
        let (wide, narrow, all) = self.shape.columns();
        let rows = &space.qkv[..batch.rows() * all];
        // SAFETY: tables belong to this pool, have room for the rows (checked in `Batch::new`), and hold blocks whose
        // slots from their length on no other table may touch; where a layer lacks positions, `set_lacking` checked
        // that no block is shared.
        unsafe { self.cpu.store_kv(pool.geometry(), rows, all, wide, wide + narrow, &batch.runs(blocks)) };
    }

    /// Output of a block for the wanted rows, [wanted, hidden]; the residual stream stays unchanged. Used for blocks in
    /// which all other rows leave only keys and values.
    fn run_wanted(
        &self,
        block: &Block,
        pool: &KvPool,
        batch: &Batch,
        blocks: &LayerBlocks,
        space: &mut Workspace,
    ) -> Vec<f32> {
        if batch.wanted().is_empty() {
            return Vec::new();
        }
        let hidden = self.shape.hidden;
        let stream = space.x[..batch.rows() * hidden].to_vec();
        let wanted = self.narrow_to_wanted(batch, space);
        self.attention(block, pool, &wanted, blocks, space);
        self.mlp(block, wanted.rows(), space);
        let made = space.x[..wanted.rows() * hidden].to_vec();
        space.x[..stream.len()].copy_from_slice(&stream);
        made
    }

    /// Applies `x + D x` in the place of a block.
    fn map(&self, map: &Matrix, rows: usize, space: &mut Workspace) {
        let x = &mut space.x[..rows * self.shape.hidden];
        let from = sized(&mut space.normed, x.len());
        from.copy_from_slice(x);
        self.cpu.project(from, rows, &[map], x, true);
    }

    /// Drops all rows but the wanted ones, once the last block's KV is stored.
    fn narrow(&self, batch: Batch, space: &mut Workspace) -> Batch {
        if batch.wanted().len() == batch.rows() { batch } else { self.narrow_to_wanted(&batch, space) }
    }

    fn narrow_to_wanted(&self, batch: &Batch, space: &mut Workspace) -> Batch {
        let (hidden, all) = (self.shape.hidden, self.shape.columns().2);
        gather_rows(&mut space.x, hidden, batch.wanted());
        gather_rows(sized(&mut space.qkv, batch.rows() * all), all, batch.wanted());
        batch.only_wanted()
    }

    /// The attention half of a block.
    fn attention(&self, block: &Block, pool: &KvPool, batch: &Batch, blocks: &LayerBlocks, space: &mut Workspace) {
        let Shape { hidden, heads, head_dim, .. } = self.shape;
        let (wide, _, all) = self.shape.columns();
        let rows = batch.rows();
        let attended = sized(&mut space.attended, rows * wide);
        let runs = batch.runs(blocks);
        let scale = 1.0 / (head_dim as f32).sqrt();
        let attention = Attention { geometry: pool.geometry(), heads, scale, window: block.window, runs: &runs };
        // SAFETY: the conditions of `store` hold here too, and every slot up to each row's own is written.
        unsafe { self.cpu.attend(&attention, &space.qkv[..rows * all], all, 0, attended) };
        self.cpu.project(attended, rows, &[&block.output], &mut space.x[..rows * hidden], true);
    }

    /// The MLP half of a block.
    fn mlp(&self, block: &Block, rows: usize, space: &mut Workspace) {
        let Shape { hidden, intermediate, norm_epsilon, .. } = self.shape;
        let x = &mut space.x[..rows * hidden];
        let normed = sized(&mut space.normed, rows * hidden);
        self.cpu.rms_norm(x, &block.before_mlp, norm_epsilon, normed);
        let inner = sized(&mut space.inner, rows * intermediate);
        self.cpu.gated(normed, rows, &block.gate, &block.up, inner);
        self.cpu.project(inner, rows, &[&block.down], x, true);
    }

    /// The final states of all rows that are left.
    fn states(&self, rows: usize, space: &mut Workspace) {
        let Shape { hidden, norm_epsilon, .. } = self.shape;
        let normed = sized(&mut space.normed, rows * hidden);
        self.cpu.rms_norm(&space.x[..rows * hidden], &self.norm, norm_epsilon, normed);
        space.states = rows * hidden;
    }

    /// Logits of the rows whose logits are wanted.
    fn logits(&self, batch: &Batch, space: &mut Workspace, beside: Beside<'_>) {
        let Shape { hidden, vocab, .. } = self.shape;
        let voiced = batch.voiced();
        space.logits.resize(voiced.len() * vocab, 0.0);
        let states = &space.normed[..space.states];
        if voiced.len() == batch.rows() {
            return self.speak_beside(states, &mut space.logits, beside);
        }
        let picked: Vec<f32> = voiced.iter().flat_map(|row| &states[row * hidden..][..hidden]).copied().collect();
        self.speak_beside(&picked, &mut space.logits, beside);
    }

    /// Projects final states, [rows, hidden], to logits, [rows, vocab].
    pub fn speak(&self, states: &[f32], logits: &mut [f32]) {
        self.speak_beside(states, logits, Beside::NOTHING);
    }

    fn speak_beside(&self, states: &[f32], logits: &mut [f32], beside: Beside<'_>) {
        let rows = states.len() / self.shape.hidden;
        self.cpu.project_beside(states, rows, &[&self.head], logits, false, beside);
    }
}

/// Source of a row's embedding.
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

/// The embedding, [vocab, hidden], and the head, hidden -> vocab. As in transformers, tying the two in the
/// configuration only matters for a tensor that the file leaves out: the stored one replaces the missing one, and where
/// both are stored, each is used as stored.
fn load_ends(weights: &Weights, config: &LanguageConfig) -> Result<(Arc<Matrix>, Arc<Matrix>)> {
    const EMBEDDING: &str = "language.embed_tokens.weight";
    const HEAD: &str = "lm_head.weight";
    let table = |name: &str| Ok::<_, ModelError>(Arc::new(weights.table(name, config.vocab, config.hidden)?));
    if !config.tied_embeddings {
        return Ok((table(EMBEDDING)?, Arc::new(weights.linear("lm_head", config.hidden, config.vocab, false)?)));
    }
    let tied = match (weights.has(EMBEDDING), weights.has(HEAD)) {
        (true, true) if !weights.are_same(EMBEDDING, HEAD) => {
            tracing::warn!("the configuration ties head and embedding, and the file holds two: each is used as stored");
            return Ok((table(EMBEDDING)?, Arc::new(weights.linear("lm_head", config.hidden, config.vocab, false)?)));
        }
        (false, true) => HEAD,
        _ => EMBEDDING,
    };
    let embedding = table(tied)?;
    let head = weights.tied_head(tied, config.vocab, config.hidden, &embedding)?;
    Ok((embedding, head))
}

/// The computation in a block's place; `None` for a skipped block.
fn load_step(
    weights: &Weights,
    config: &LanguageConfig,
    layer: usize,
    role: &BlockRole,
    repairs: Option<&Weights>,
) -> Result<Option<Kind>> {
    let own = format!("language.layers.{layer}");
    let repairs = || repairs.ok_or_else(|| ModelError::config("stage", "its repairs were not loaded"));
    Ok(match role {
        BlockRole::Run => Some(Kind::Whole(Block::load(weights, &own, layer, config)?)),
        BlockRole::KeysAndValues { tensor } => {
            let map = |tensor: &String| repairs()?.table(tensor, config.hidden, config.hidden);
            let map = tensor.as_ref().map(map).transpose()?;
            Some(Kind::KeysAndValues(Block::load(weights, &own, layer, config)?, map))
        }
        BlockRole::Merged { prefix } => Some(Kind::Whole(Block::load(repairs()?, prefix, layer, config)?)),
        BlockRole::Linear { tensor } => Some(Kind::Linear(repairs()?.table(tensor, config.hidden, config.hidden)?)),
        BlockRole::Skip => None,
    })
}
