//! Feeds concatenated into one pass: the rows of each feed, and the rows of which something is wanted.

use secateur_kernels::{BlockAddress, Run};

use crate::error::{ModelError, Result};
use crate::language::feed::{Feed, Input, Wanted};

/// Consecutive rows of one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    /// Index of the feed.
    feed: usize,
    /// First row in the pass.
    row: usize,
    rows: usize,
    /// KV slot of the first row.
    slot: usize,
}

/// The rows of a pass, feed after feed.
#[derive(Debug)]
pub(crate) struct Batch {
    stretches: Vec<Stretch>,
    rows: usize,
    /// Rows whose final state is wanted, ascending.
    wanted: Vec<usize>,
    /// Those of them whose logits are wanted too, as places in `wanted`, ascending.
    voiced: Vec<usize>,
}

impl Batch {
    /// Checks that each feed has room for its rows and that each prompt continues where its table ends.
    pub fn new(feeds: &[Feed<'_>], vocab: usize) -> Result<Batch> {
        let stretches = Vec::with_capacity(feeds.len());
        let mut batch = Batch { stretches, rows: 0, wanted: Vec::new(), voiced: Vec::new() };
        for (index, feed) in feeds.iter().enumerate() {
            let (rows, slot) = (feed.input.len(), feed.table.len());
            check(feed, vocab)?;
            batch.stretches.push(Stretch { feed: index, row: batch.rows, rows, slot });
            batch.rows += rows;
            batch.want(feed.wanted, rows);
        }
        Ok(batch)
    }

    /// Notes what is wanted of the last `rows` rows.
    fn want(&mut self, wanted: Wanted, rows: usize) {
        let before = self.wanted.len();
        match wanted {
            Wanted::Nothing => {}
            Wanted::Last => self.wanted.push(self.rows - 1),
            Wanted::All | Wanted::States | Wanted::StatesAndLast => self.wanted.extend(self.rows - rows..self.rows),
        }
        match wanted {
            Wanted::Nothing | Wanted::States => {}
            Wanted::Last | Wanted::All => self.voiced.extend(before..self.wanted.len()),
            Wanted::StatesAndLast => self.voiced.push(self.wanted.len() - 1),
        }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn wanted(&self) -> &[usize] {
        &self.wanted
    }

    pub fn voiced(&self) -> &[usize] {
        &self.voiced
    }

    /// A batch of only the wanted rows, renumbered to be contiguous.
    pub fn only_wanted(&self) -> Batch {
        let mut stretches = Vec::with_capacity(self.wanted.len());
        for (row, &from) in self.wanted.iter().enumerate() {
            // Stretches cover all rows in order, so exactly one contains this row.
            let at = self.stretches.partition_point(|stretch| stretch.row + stretch.rows <= from);
            let Stretch { feed, row: first, slot, .. } = self.stretches[at];
            stretches.push(Stretch { feed, row, rows: 1, slot: slot + from - first });
        }
        let wanted = (0..self.wanted.len()).collect();
        Batch { stretches, rows: self.wanted.len(), wanted, voiced: self.voiced.clone() }
    }

    /// The batch's attention runs in one layer.
    pub fn runs<'a>(&self, blocks: &'a LayerBlocks) -> Vec<Run<'a>> {
        let run = |stretch: &Stretch| Run {
            row: stretch.row,
            rows: stretch.rows,
            slot: stretch.slot - blocks.missing[stretch.feed],
            blocks: &blocks.addresses[blocks.starts[stretch.feed]..blocks.starts[stretch.feed + 1]],
        };
        self.stretches.iter().map(run).collect()
    }
}

/// Block addresses of every feed's KV in one layer.
pub(crate) struct LayerBlocks {
    addresses: Vec<BlockAddress>,
    /// Index of each feed's first address, and the end.
    starts: Vec<usize>,
    /// Number of positions of each feed that this layer has no KV of.
    missing: Vec<usize>,
}

impl LayerBlocks {
    pub fn gather(feeds: &[Feed<'_>], layer_slot: usize) -> LayerBlocks {
        let mut addresses: Vec<BlockAddress> = Vec::new();
        let mut starts = Vec::with_capacity(feeds.len() + 1);
        for feed in feeds {
            starts.push(addresses.len());
            feed.table.addresses(layer_slot, &mut addresses);
        }
        starts.push(addresses.len());
        let missing = feeds.iter().map(|feed| feed.table.missing_in(layer_slot)).collect();
        LayerBlocks { addresses, starts, missing }
    }
}

fn check(feed: &Feed<'_>, vocab: usize) -> Result<()> {
    let (rows, slot) = (feed.input.len(), feed.table.len());
    if rows == 0 {
        return Err(ModelError::EmptyPrompt);
    }
    if slot + rows > feed.table.capacity() {
        return Err(ModelError::cache(format!("{rows} rows do not fit behind {slot} of {}", feed.table.capacity())));
    }
    match &feed.input {
        Input::Token { id, .. } if *id as usize >= vocab => Err(ModelError::Token { token: *id, vocab }),
        Input::Token { .. } => Ok(()),
        Input::Prompt(prompt, range) if range.start != slot || range.end > prompt.len() => {
            Err(ModelError::cache(format!("rows {range:?} of {} do not follow slot {slot}", prompt.len())))
        }
        Input::Prompt(..) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::BlockTable;
    use crate::kv::tests_pool as pool;
    use crate::language::feed::{Prompt, Segment};

    #[test]
    fn feeds_stand_side_by_side_and_wanted_rows_know_their_slots() {
        let pool = pool(4);
        let mut tables = [BlockTable::new(&pool), BlockTable::new(&pool)];
        for table in &mut tables {
            table.grow(pool.lease(2).unwrap());
        }
        tables[1].set_len(9).unwrap();
        let prompt = Prompt::new(&[Segment::Text(&[1, 2, 3, 4])], 10, false).unwrap();
        let [first, second] = &mut tables;
        let feeds = [
            Feed { input: Input::Prompt(&prompt, 0..4), table: first, wanted: Wanted::Last },
            Feed { input: Input::Token { id: 3, position: 9 }, table: second, wanted: Wanted::Last },
        ];
        let batch = Batch::new(&feeds, 10).unwrap();
        assert_eq!((batch.rows(), batch.wanted(), batch.voiced()), (5, &[3, 4][..], &[0, 1][..]));
        let narrow = batch.only_wanted();
        let blocks = LayerBlocks::gather(&feeds, 0);
        let slots: Vec<_> = narrow.runs(&blocks).iter().map(|run| (run.row, run.slot)).collect();
        assert_eq!(slots, [(0, 3), (1, 9)]);
    }

    #[test]
    fn states_of_all_rows_are_kept_and_logits_of_the_last_alone() {
        let pool = pool(4);
        let mut tables = [BlockTable::new(&pool), BlockTable::new(&pool), BlockTable::new(&pool)];
        tables.iter_mut().for_each(|table| table.grow(pool.lease(1).unwrap()));
        let prompt = Prompt::new(&[Segment::Text(&[1, 2, 3])], 10, false).unwrap();
        let wanted = [Wanted::States, Wanted::Nothing, Wanted::StatesAndLast];
        let feeds: Vec<Feed<'_>> = tables
            .iter_mut()
            .zip(wanted)
            .map(|(table, wanted)| Feed { input: Input::Prompt(&prompt, 0..3), table, wanted })
            .collect();
        let batch = Batch::new(&feeds, 10).unwrap();
        assert_eq!((batch.wanted(), batch.voiced()), (&[0, 1, 2, 6, 7, 8][..], &[5][..]));
        let narrow = batch.only_wanted();
        assert_eq!((narrow.rows(), narrow.wanted().len(), narrow.voiced()), (6, 6, &[5][..]));
    }

    #[test]
    fn what_does_not_fit_or_follow_is_refused() {
        let pool = pool(1);
        let mut table = BlockTable::new(&pool);
        let prompt = Prompt::new(&[Segment::Text(&[1, 2, 3, 4])], 10, false).unwrap();
        let mut refused = |input: Input<'_>| {
            let feeds = [Feed { input, table: &mut table, wanted: Wanted::Last }];
            Batch::new(&feeds, 10).is_err()
        };
        assert!(refused(Input::Token { id: 1, position: 0 }));
        assert!(refused(Input::Prompt(&prompt, 0..0)));
        table.grow(pool.lease(1).unwrap());
        let mut refused = |input: Input<'_>| {
            let feeds = [Feed { input, table: &mut table, wanted: Wanted::Last }];
            Batch::new(&feeds, 10).is_err()
        };
        assert!(refused(Input::Token { id: 10, position: 0 }));
        assert!(refused(Input::Prompt(&prompt, 1..2)));
        assert!(refused(Input::Prompt(&prompt, 0..5)));
        assert!(!refused(Input::Prompt(&prompt, 0..4)));
    }
}
