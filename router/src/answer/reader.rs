//! Takes an answer's text apart: into reasoning, words and calls.

use super::Piece;
use crate::{reasoning::ReasoningReader, request::FinishReason, tools::ToolReader};

/// The readers of one answer's text.
#[derive(Debug, Default)]
pub struct AnswerReader {
    /// Reader of reasoning; `None` if the text holds none.
    pub reasoning: Option<ReasoningReader>,
    /// Whether reasoning is left out of the answer.
    pub hides_reasoning: bool,
    /// Reader of calls; `None` if there are no tools.
    pub tools: Option<ToolReader>,
}

impl AnswerReader {
    /// Takes the text of a piece apart. An answer that ended by itself and holds a call has ended for it.
    pub fn read(&mut self, mut piece: Piece) -> Piece {
        self.reasoning(&mut piece);
        if self.hides_reasoning {
            piece.reasoning.clear();
        }
        self.calls(&mut piece);
        piece
    }

    fn reasoning(&mut self, piece: &mut Piece) {
        let Some(reader) = &mut self.reasoning else { return };
        let text = std::mem::take(&mut piece.text);
        reader.push(&text, &mut piece.reasoning, &mut piece.text);
        if piece.finish.is_some() {
            reader.end(&mut piece.reasoning, &mut piece.text);
        }
    }

    fn calls(&mut self, piece: &mut Piece) {
        let Some(tools) = &mut self.tools else { return };
        let text = std::mem::take(&mut piece.text);
        tools.push(&text, &mut piece.text, &mut piece.calls);
        if let Some(finish) = piece.finish {
            tools.end(&mut piece.text);
            let is_call = finish == FinishReason::Stop && tools.has_calls();
            piece.finish = Some(if is_call { FinishReason::ToolCalls } else { finish });
        }
    }
}
