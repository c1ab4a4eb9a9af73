//! A conversation to be answered.

use super::{
    generation::Generation,
    message::{Field, Message},
    picture::Picture,
};

/// A validated chat request: nothing in it needs to be checked again, except against the nodes' context length.
#[derive(Debug)]
pub struct ChatJob {
    /// The parts of the request besides its prompt.
    pub generation: Generation,
    /// The conversation.
    pub messages: Vec<Message>,
    /// The pictures of all messages, in order.
    pub pictures: Vec<Picture>,
    /// How the prompt leads over to the answer.
    pub opening: Opening,
    /// Variables of the chat template: those of `chat_template_kwargs`, and `tools`.
    pub template_kwargs: Vec<Field>,
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
