//! What was said in a conversation, and what of it is sent.

use serde_json::{Value, json};

use super::picture::Picture;

/// A message of the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its words.
    pub text: String,
    /// Its pictures, which stand before the words.
    pub pictures: Vec<Picture>,
}

/// A message to send again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Again {
    /// The message.
    pub question: Question,
    /// The answer that it had; `None` if it had none.
    pub answer: Option<String>,
}

/// A conversation.
#[derive(Debug, Default)]
pub struct Conversation {
    system: Option<String>,
    turns: Vec<(Question, String)>,
    /// Pictures of the next message.
    pictures: Vec<Picture>,
    /// The last message, if it got no answer.
    unanswered: Option<Question>,
}

impl Conversation {
    /// A conversation with a system message, and with pictures of its first message.
    pub fn new(system: Option<String>, pictures: Vec<Picture>) -> Conversation {
        Conversation { system, pictures, ..Conversation::default() }
    }

    /// Sets the system message of the requests that follow.
    pub fn set_system(&mut self, system: Option<String>) {
        self.system = system;
    }

    /// Adds pictures to the next message; returns how many it has.
    pub fn attach(&mut self, pictures: Vec<Picture>) -> usize {
        self.pictures.extend(pictures);
        self.pictures.len()
    }

    /// The next message, with the pictures that wait for it. An earlier one without an answer is dropped.
    pub fn ask(&mut self, text: String) -> Question {
        self.unanswered = None;
        Question { text, pictures: std::mem::take(&mut self.pictures) }
    }

    /// Takes out the last message to send it again: the one without an answer, else that of the last turn.
    pub fn again(&mut self) -> Option<Again> {
        if let Some(question) = self.unanswered.take() {
            return Some(Again { question, answer: None });
        }
        self.turns.pop().map(|(question, answer)| Again { question, answer: Some(answer) })
    }

    /// Adds a turn.
    pub fn answered(&mut self, question: Question, answer: String) {
        self.turns.push((question, answer));
    }

    /// Keeps a message without an answer, outside of what is sent.
    pub fn unanswered(&mut self, question: Question) {
        self.unanswered = Some(question);
    }

    /// Drops the last message and its answer, if it has one; returns the message's words.
    pub fn undo(&mut self) -> Option<String> {
        self.again().map(|again| again.question.text)
    }

    /// Drops every message. The system message stays.
    pub fn reset(&mut self) {
        *self = Conversation::new(self.system.take(), Vec::new());
    }

    /// The messages of a request: everything that was said, and what is asked.
    pub fn messages(&self, asked: Option<&Question>) -> Vec<Value> {
        let system = self.system.iter().map(|text| json!({"role": "system", "content": text}));
        let turns = self
            .turns
            .iter()
            .flat_map(|(question, answer)| [question.message(), json!({"role": "assistant", "content": answer})]);
        system.chain(turns).chain(asked.map(Question::message)).collect()
    }
}

impl Question {
    fn message(&self) -> Value {
        if self.pictures.is_empty() {
            return json!({"role": "user", "content": self.text});
        }
        let pictures =
            self.pictures.iter().map(|picture| json!({"type": "image_url", "image_url": {"url": picture.uri}}));
        let content: Vec<Value> = pictures.chain([json!({"type": "text", "text": self.text})]).collect();
        json!({"role": "user", "content": content})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(conversation: &Conversation) -> String {
        let text = |message: &Value| {
            let content = message["content"].as_str().unwrap_or("[parts]").to_owned();
            format!("{}:{content}", message["role"].as_str().unwrap())
        };
        conversation.messages(None).iter().map(text).collect::<Vec<_>>().join(" ")
    }

    fn with_a_turn() -> Conversation {
        let mut conversation = Conversation::new(Some("s".into()), Vec::new());
        let question = conversation.ask("q".into());
        conversation.answered(question, "a".into());
        conversation
    }

    #[test]
    fn turns_are_sent_in_order() {
        let mut conversation = with_a_turn();
        let next = conversation.ask("r".into());
        assert_eq!(said(&conversation), "system:s user:q assistant:a");
        assert_eq!(conversation.messages(Some(&next))[3], json!({"role": "user", "content": "r"}));
        conversation.set_system(None);
        assert_eq!(said(&conversation), "user:q assistant:a");
    }

    #[test]
    fn pictures_belong_to_the_next_message() {
        let picture = |uri: &str| Picture { uri: uri.to_owned() };
        let mut conversation = Conversation::new(None, vec![picture("data:a")]);
        assert_eq!(conversation.attach(vec![picture("data:b")]), 2);
        let question = conversation.ask("q".into());
        let content = conversation.messages(Some(&question))[0]["content"].clone();
        assert_eq!(content[1], json!({"type": "image_url", "image_url": {"url": "data:b"}}));
        assert_eq!(content[2], json!({"type": "text", "text": "q"}));
        assert!(conversation.ask("r".into()).pictures.is_empty());
    }

    #[test]
    fn a_message_without_answer_is_kept_for_another_try_alone() {
        let mut conversation = with_a_turn();
        let question = conversation.ask("r".into());
        conversation.unanswered(question.clone());
        assert_eq!(said(&conversation), "system:s user:q assistant:a");
        assert_eq!(conversation.again().unwrap(), Again { question: question.clone(), answer: None });
        conversation.unanswered(question);
        conversation.ask("t".into());
        let again = conversation.again().unwrap();
        assert_eq!((again.question.text.as_str(), again.answer.as_deref()), ("q", Some("a")));
        assert_eq!((said(&conversation).as_str(), conversation.again()), ("system:s", None));
    }

    #[test]
    fn turns_can_be_dropped() {
        let mut conversation = with_a_turn();
        let question = conversation.ask("r".into());
        conversation.unanswered(question);
        assert_eq!(conversation.undo().as_deref(), Some("r"));
        assert_eq!(conversation.undo().as_deref(), Some("q"));
        assert_eq!((conversation.undo(), said(&conversation).as_str()), (None, "system:s"));
        let mut conversation = with_a_turn();
        conversation.reset();
        assert_eq!((said(&conversation).as_str(), conversation.again()), ("system:s", None));
    }
}
