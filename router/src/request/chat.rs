//! A conversation to be answered.

use std::collections::HashSet;

use super::{
    generation::Generation,
    message::{Field, Message},
    picture::{PictureUrl, SentPicture},
};

/// A validated chat request: nothing in it needs to be checked again, except against the nodes' context length.
#[derive(Debug)]
pub struct ChatJob {
    /// The parts of the request besides its prompt.
    pub generation: Generation,
    /// The conversation.
    pub messages: Vec<Message>,
    /// The pictures of all messages, in order.
    pub pictures: Vec<SentPicture>,
    /// How the prompt leads over to the answer.
    pub opening: Opening,
    /// Variables of the chat template: those of `chat_template_kwargs`, and `tools`.
    pub template_kwargs: Vec<Field>,
}

impl ChatJob {
    /// The pictures that were sent by URL, each URL once.
    pub fn urls(&self) -> Vec<PictureUrl> {
        let mut seen = HashSet::new();
        let wanted = self.pictures.iter().filter_map(SentPicture::wanted);
        wanted.filter(|wanted| seen.insert(wanted.url.clone())).collect()
    }
}

/// How a conversation's prompt leads over to the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Opening {
    /// The template opens the assistant's turn.
    #[default]
    Answer,
    /// The prompt ends with the last message, as the template closes it.
    Nothing,
    /// The answer continues the words of the last message.
    Continue,
}
