//! Inputs that a sequence brings to a forward pass.

use std::ops::Range;

use crate::error::{ModelError, Result};
use crate::kv::BlockTable;
use crate::vision::VisualTokens;

/// A stretch of a prompt.
#[derive(Clone, Debug)]
pub enum Segment<'a> {
    /// Token ids.
    Text(&'a [u32]),
    /// The kept visual tokens of one picture, in order.
    Visual(VisualTokens),
}

/// A prompt as rows, with the rotary position of each row.
#[derive(Clone, Debug)]
pub struct Prompt {
    rows: Vec<PromptRow>,
    pictures: Vec<VisualTokens>,
    /// Time, height and width of each row, for models with M-RoPE; for all others row `i` stands at position `i`.
    positions: Option<Vec<[u32; 3]>>,
    next_position: u32,
}

/// One row of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PromptRow {
    /// A text token.
    Token(u32),
    /// A visual token.
    Visual {
        /// Index of the picture within the prompt, from 0.
        picture: u32,
        /// Row among the picture's kept tokens.
        row: u32,
        /// Index among the picture's unpruned tokens.
        origin: u32,
    },
}

/// Some rows of one sequence, to be run at the slots after those that its table holds.
pub struct Feed<'a> {
    /// The rows.
    pub input: Input<'a>,
    /// The sequence's KV. The table must have blocks for the new rows.
    pub table: &'a mut BlockTable,
    /// What the pass leaves of the rows.
    pub wanted: Wanted,
}

/// Rows of a feed.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// A token of an answer, at its rotary position.
    Token {
        /// The token id.
        id: u32,
        /// Rotary position of the token, the same on all axes.
        position: u32,
    },
    /// A range of a prompt's rows; it begins where the table ends.
    Prompt(&'a Prompt, Range<usize>),
}

/// What a pass leaves of a feed's rows: logits in [`Workspace::logits`], and the final hidden states of the same and of
/// further rows in [`Workspace::states`].
///
/// [`Workspace::logits`]: super::Workspace::logits
/// [`Workspace::states`]: super::Workspace::states
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing is wanted: more of the prompt follows.
    Nothing,
    /// The logits and the state of the last row.
    Last,
    /// The logits and the state of every row.
    All,
    /// The state of every row, and no logits.
    States,
    /// The state of every row, and the logits of the last one.
    StatesAndLast,
}

impl Wanted {
    /// How many rows of a feed of `rows` rows leave their final state.
    pub fn states(self, rows: usize) -> usize {
        match self {
            Wanted::Nothing => 0,
            Wanted::Last => 1,
            Wanted::All | Wanted::States | Wanted::StatesAndLast => rows,
        }
    }
}

impl Prompt {
    /// Concatenates segments; `vocab` bounds token ids, `multi_axis` is set for models with M-RoPE.
    pub(crate) fn new(segments: &[Segment<'_>], vocab: usize, multi_axis: bool) -> Result<Prompt> {
        let mut prompt =
            Prompt { rows: Vec::new(), pictures: Vec::new(), positions: multi_axis.then(Vec::new), next_position: 0 };
        for segment in segments {
            match segment {
                Segment::Text(tokens) => prompt.push_text(tokens, vocab)?,
                Segment::Visual(tokens) => prompt.push_picture(tokens),
            }
        }
        if prompt.rows.is_empty() {
            return Err(ModelError::EmptyPrompt);
        }
        Ok(prompt)
    }

    /// A text prompt without a model: for simulations.
    pub fn of_text(tokens: &[u32]) -> Result<Prompt, ModelError> {
        Prompt::new(&[Segment::Text(tokens)], usize::MAX, false)
    }

    fn push_text(&mut self, tokens: &[u32], vocab: usize) -> Result<()> {
        for &token in tokens {
            if token as usize >= vocab {
                return Err(ModelError::Token { token, vocab });
            }
            self.rows.push(PromptRow::Token(token));
            if let Some(positions) = &mut self.positions {
                positions.push([self.next_position; 3]);
            }
            self.next_position += 1;
        }
        Ok(())
    }

    fn push_picture(&mut self, tokens: &VisualTokens) {
        let picture = self.pictures.len() as u32;
        let rows = tokens.origins().iter().enumerate();
        self.rows.extend(rows.map(|(row, &origin)| PromptRow::Visual { picture, row: row as u32, origin }));
        match (&mut self.positions, tokens.offsets()) {
            (Some(positions), Some(offsets)) => {
                let first = self.next_position;
                positions.extend(offsets.iter().map(|offset| offset.map(|axis| first + axis)));
                self.next_position += tokens.advance();
            }
            // Positions are assigned after pruning: the kept tokens are consecutive.
            _ => self.next_position += tokens.len() as u32,
        }
        self.pictures.push(tokens.clone());
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether the prompt has no rows, which is never the case: a prompt has at least one.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Every row, in order.
    pub fn rows(&self) -> &[PromptRow] {
        &self.rows
    }

    /// The rotary position of the token that follows the prompt.
    pub fn next_position(&self) -> u32 {
        self.next_position
    }

    /// The embedding of a visual row.
    pub(crate) fn visual_row(&self, picture: u32, row: u32) -> &[f32] {
        let tokens = &self.pictures[picture as usize];
        let width = tokens.width();
        &tokens.data()[row as usize * width..][..width]
    }

    pub(crate) fn position(&self, row: usize) -> [u32; 3] {
        self.positions.as_ref().map_or([row as u32; 3], |positions| positions[row])
    }
}

impl Input<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Input::Token { .. } => 1,
            Input::Prompt(_, range) => range.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stands_at_consecutive_positions() {
        let prompt =
            Prompt::new(&[Segment::Text(&[5, 6]), Segment::Text(&[]), Segment::Text(&[7])], 10, false).unwrap();
        assert_eq!(prompt.rows(), [5, 6, 7].map(PromptRow::Token));
        assert_eq!((prompt.position(2), prompt.next_position()), ([2; 3], 3));
    }

    #[test]
    fn an_unknown_token_and_an_empty_prompt_are_refused() {
        let unknown = Prompt::new(&[Segment::Text(&[10])], 10, false);
        assert!(matches!(unknown, Err(ModelError::Token { token: 10, vocab: 10 })));
        assert!(matches!(Prompt::new(&[Segment::Text(&[])], 10, false), Err(ModelError::EmptyPrompt)));
    }
}
