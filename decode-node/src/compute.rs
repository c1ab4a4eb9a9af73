//! What the engine needs of a model: one token for each of many answers. A trait, so that load tests of thousands of
//! answers can run on a simulated one.

use std::sync::Arc;

use secateur_model::{BlockTable, Drawn, Feed, Input, KvPool, Model, ModelError, Sampler, Wanted, Workspace};

/// One answer in a step.
pub struct Row<'a> {
    /// Its newest token: the step's input.
    pub token: u32,
    /// That token's rotary position.
    pub position: u32,
    /// Its KV, with room for one more.
    pub table: &'a mut BlockTable,
    /// Draws its next token.
    pub sampler: &'a mut Sampler,
    /// Where the next token goes.
    pub drawn: Option<Result<Drawn, ModelError>>,
}

/// Something that can move answers by a token.
pub trait Compute: Send + 'static {
    /// Moves every row by one token. After an error no table has grown.
    fn step(&mut self, rows: &mut [Row<'_>]) -> Result<(), ModelError>;
}

/// The model itself.
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
        let mut feeds: Vec<Feed<'_>> = rows
            .iter_mut()
            .map(|row| Feed {
                input: Input::Token { id: row.token, position: row.position },
                table: &mut *row.table,
                wanted: Wanted::Last,
            })
            .collect();
        self.model.forward(&self.pool, &mut feeds, &mut self.space, &mut |_| {})?;
        drop(feeds);
        self.model.draw(&mut self.space, rows.iter_mut().map(|row| (&mut *row.sampler, &mut row.drawn)));
        Ok(())
    }
}
