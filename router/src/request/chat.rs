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
    /// Variables of the chat template: those of `chat_template_kwargs`, and `tools`.
    pub template_kwargs: Vec<Field>,
}
