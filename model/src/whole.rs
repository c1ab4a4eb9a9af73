//! A model on its own, with private KV memory for whole prompts: for tests, calibration and evaluation. Serving batches
//! instead.

use crate::error::ModelError;
use crate::kv::{BlockTable, KvPool, blocks_for};
use crate::language::{Feed, Input, Prompt, Segment, Wanted, Workspace};
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
        let mut answers = self.greedy_all(&[segments], count, &[])?;
        Ok(answers.pop().unwrap_or_default())
    }

    /// The most likely next tokens of several prompts, with one pass over all of them in each step. An answer ends with
    /// one of the `stops`, which is its last token, or after `count` tokens.
    pub fn greedy_all(
        &self,
        prompts: &[&[Segment<'_>]],
        count: usize,
        stops: &[u32],
    ) -> Result<Vec<Vec<u32>>, ModelError> {
        let prompts = prompts.iter().map(|segments| self.prompt(segments)).collect::<Result<Vec<Prompt>, _>>()?;
        let mut answers: Vec<Vec<u32>> = vec![Vec::new(); prompts.len()];
        let (pool, mut tables) = self.own_tables(prompts.iter().map(|prompt| prompt.len() + count))?;
        let mut space = Workspace::default();
        let mut sampler = Sampler::new(Sampling::default(), Vec::new(), &[], &[]);
        for _ in 0..count {
            let is_running = |answer: &[u32]| answer.last().is_none_or(|last| !stops.contains(last));
            let running: Vec<usize> = (0..answers.len()).filter(|&at| is_running(&answers[at])).collect();
            let feed = |((at, table), prompt): ((usize, _), _)| {
                running.contains(&at).then(|| Feed { input: next(prompt, &answers[at]), table, wanted: Wanted::Last })
            };
            let mut feeds: Vec<Feed<'_>> = tables.iter_mut().enumerate().zip(&prompts).filter_map(feed).collect();
            if feeds.is_empty() {
                break;
            }
            self.forward(&pool, &mut feeds, &mut space, &mut |_| {})?;
            for (&at, logits) in running.iter().zip(space.logits().chunks_exact_mut(self.info().vocab)) {
                answers[at].push(sampler.draw(logits)?.token);
            }
        }
        Ok(answers)
    }

    fn own_table(&self, positions: usize) -> Result<(KvPool, BlockTable), ModelError> {
        let (pool, mut tables) = self.own_tables([positions].into_iter())?;
        let table = tables.pop().ok_or_else(|| ModelError::cache("no table was made"))?;
        Ok((pool, table))
    }

    fn own_tables(
        &self,
        positions: impl Iterator<Item = usize> + Clone,
    ) -> Result<(KvPool, Vec<BlockTable>), ModelError> {
        let blocks = positions.map(|positions| blocks_for(positions.max(1)));
        let pool = self.kv_pool_of(blocks.clone().sum())?;
        let table = |blocks: usize| {
            let mut table = BlockTable::new(&pool);
            table.grow(pool.lease(blocks).ok_or_else(|| ModelError::cache("a new pool is not free"))?);
            Ok(table)
        };
        let tables = blocks.map(table).collect::<Result<_, ModelError>>()?;
        Ok((pool, tables))
    }
}

/// The input of the next pass: the whole prompt, or the answer's last token.
fn next<'a>(prompt: &'a Prompt, answer: &[u32]) -> Input<'a> {
    match answer.last() {
        None => Input::Prompt(prompt, 0..prompt.len()),
        Some(&id) => Input::Token { id, position: prompt.next_position() + answer.len() as u32 - 1 },
    }
}
