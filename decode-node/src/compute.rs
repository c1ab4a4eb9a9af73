//! The operation that the engine needs of a model: one token for each of many answers. A trait, so that load tests of
//! thousands of answers can run on a simulated model.

use std::sync::Arc;

use secateur_model::{BlockTable, Drawn, Feed, Input, KvPool, Model, ModelError, Sampler, Wanted, Workspace};

/// One answer in a step.
pub struct Row<'a> {
    /// The answer's newest token: the step's input.
    pub token: u32,
    /// Rotary position of the newest token.
    pub position: u32,
    /// Block table of the answer's KV, with room for one more position.
    pub table: &'a mut BlockTable,
    /// Sampler for the answer's next token.
    pub sampler: &'a mut Sampler,
    /// The next token, written by [`Compute::step`].
    pub drawn: Option<Result<Drawn, ModelError>>,
}

/// A model that can advance answers by one token.
pub trait Compute: Send + 'static {
    /// Advances every row by one token. After an error no table has grown.
    fn step(&mut self, rows: &mut [Row<'_>]) -> Result<(), ModelError>;
}

/// [`Compute`] on a real model.
pub struct ModelCompute {
    model: Arc<Model>,
    pool: KvPool,
    space: Workspace,
}

impl ModelCompute {
    /// Computes with `model` on KV in `pool`.
    pub fn new(model: Arc<Model>, pool: KvPool) -> Self {
        Self { model, pool, space: Workspace::default() }
    }
}

impl Compute for ModelCompute {
    fn step(&mut self, rows: &mut [Row<'_>]) -> Result<(), ModelError> {
        let (mut feeds, mut samplers) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        for row in &mut *rows {
            let input = Input::Token { id: row.token, position: row.position };
            feeds.push(Feed { input, table: &mut *row.table, wanted: Wanted::Last });
            samplers.push(&mut *row.sampler);
        }
        self.model.forward_for(&self.pool, &mut feeds, &mut self.space, samplers.into_iter())?;
        drop(feeds);
        self.model.draw(&mut self.space, rows.iter_mut().map(|row| (&mut *row.sampler, &mut row.drawn)));
        Ok(())
    }
}
