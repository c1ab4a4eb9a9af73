//! A model on its own: prompts run whole, on memory of their own. For tests, calibration and evaluation; serving batches.

use crate::error::ModelError;
use crate::kv::{BLOCK_POSITIONS, BlockTable, KvPool, blocks_for};
use crate::language::{Feed, Input, Segment, Wanted, Workspace};
use crate::model::Model;
use crate::sampling::{Sampler, Sampling};

impl Model {
    /// Logits at every position of a prompt, [positions, vocab].
    pub fn logits(&self, segments: &[Segment<'_>]) -> Result<Vec<f32>, ModelError> {
        let prompt = self.prompt(segments)?;
        let (pool, mut table) = self.own_table(prompt.len())?;
        let mut space = Workspace::default();
        let input = Input::Prompt(&prompt, 0..prompt.len());
        let mut feeds = [Feed { input, table: &mut table, wanted: Wanted::All }];
        self.forward(&pool, &mut feeds, &mut space, &mut |_| {})?;
        Ok(space.logits().to_vec())
    }

    /// The `count` most likely next tokens, one after another.
    pub fn greedy(&self, segments: &[Segment<'_>], count: usize) -> Result<Vec<u32>, ModelError> {
        let prompt = self.prompt(segments)?;
        let (pool, mut table) = self.own_table(prompt.len() + count)?;
        let mut space = Workspace::default();
        let mut sampler = Sampler::new(Sampling::default(), Vec::new(), &[], &[]);
        let mut tokens: Vec<u32> = Vec::with_capacity(count);
        while tokens.len() < count {
            let input = match tokens.last() {
                None => Input::Prompt(&prompt, 0..prompt.len()),
                Some(&id) => Input::Token { id, position: prompt.next_position() + tokens.len() as u32 - 1 },
            };
            let mut feeds = [Feed { input, table: &mut table, wanted: Wanted::Last }];
            self.forward(&pool, &mut feeds, &mut space, &mut |_| {})?;
            tokens.push(sampler.draw(space.logits())?.token);
        }
        Ok(tokens)
    }

    fn own_table(&self, positions: usize) -> Result<(KvPool, BlockTable), ModelError> {
        let blocks = blocks_for(positions.max(1));
        let pool = self.kv_pool_of(blocks)?;
        let mut table = BlockTable::new(&pool);
        table.grow(pool.lease(blocks).ok_or_else(|| ModelError::cache("a new pool is not free"))?);
        debug_assert!(table.capacity() == blocks * BLOCK_POSITIONS);
        Ok((pool, table))
    }
}
