//! The loop of a conversation: a message or a command in, an answer out.

use std::{fs, path::Path, time::Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio::signal::ctrl_c;

use super::{
    asking,
    command::{self, Command, HELP},
    conversation::{Again, Conversation, Question},
    failure::Failure,
    figures,
    input::{Input, Line},
    lines::{BYTES_MAX, Entry, Lines},
    picture,
    reading::Reading,
    request::{self, Settings},
    screen::Screen,
    totals::Totals,
};
use crate::{client::connection::Client, receipt_lines::receipt, usage::usage};

const PROMPT: &str = "> ";
/// Prompt of a further line of the same message.
const GOES_ON: &str = ". ";
/// Most characters shown of a message that is sent again or dropped.
const CHARS_MAX: usize = 60;

/// How a conversation is held.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Whether a person types at a terminal. Otherwise the first wrong command ends it: what follows in a script would
    /// mean something else.
    pub is_interactive: bool,
    /// Whether each turn is printed as a document.
    pub is_json: bool,
}

/// A conversation with one server.
pub struct Session {
    client: Client,
    settings: Settings,
    conversation: Conversation,
    input: Input,
    lines: Lines,
    screen: Screen,
    manner: Manner,
    totals: Totals,
    /// Messages sent, and those of them without an answer.
    asked: u64,
    failed: u64,
}

/// How an answer ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Whole,
    /// By Ctrl-C.
    Stopped,
    Failed(Failure),
}

/// Whether the conversation goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    GoOn,
    End,
}

impl Session {
    /// A conversation that begins with what is given.
    pub fn new(
        client: Client,
        settings: Settings,
        conversation: Conversation,
        input: Input,
        screen: Screen,
        manner: Manner,
    ) -> Session {
        let (lines, totals) = (Lines::default(), Totals::default());
        Session { client, settings, conversation, input, lines, screen, manner, totals, asked: 0, failed: 0 }
    }

    /// Holds the conversation to its end. In a script, a message without an answer makes that end a failure.
    pub async fn run(mut self) -> anyhow::Result<()> {
        while let Some(entry) = self.entry().await? {
            if self.enter(entry).await? == Then::End {
                break;
            }
            self.screen.check().context("cannot print the answer")?;
        }
        if self.failed > 0 && !self.manner.is_interactive {
            bail!("{} of {} messages have no answer", self.failed, self.asked);
        }
        Ok(())
    }

    /// What the user enters next; `None` at the end.
    async fn entry(&mut self) -> anyhow::Result<Option<Entry>> {
        loop {
            let prompt = if self.lines.is_open() { GOES_ON } else { PROMPT };
            let line = tokio::select! {
                line = self.input.line(prompt) => line.context("cannot read the next message")?,
                // An editor takes it for a key; without one it is a signal.
                Ok(()) = ctrl_c() => Line::Interrupted,
            };
            match line {
                Line::Text(line) => {
                    if let Some(entry) = self.lines.push(&line) {
                        return Ok(Some(entry));
                    }
                }
                Line::Interrupted if self.manner.is_interactive && self.lines.is_open() => self.lines.clear(),
                Line::Interrupted => return Ok(None),
                Line::End => return Ok(self.lines.end()),
            }
        }
    }

    async fn enter(&mut self, entry: Entry) -> anyhow::Result<Then> {
        let wrong = match entry {
            Entry::Message(text) => {
                let question = self.conversation.ask(text);
                return self.ask(Again { question, answer: None }).await;
            }
            Entry::TooLong => format!("a message has at most {} MiB", BYTES_MAX >> 20),
            Entry::Command(line) => match command::parse(&line) {
                Ok(Command::Retry) => match self.conversation.again() {
                    Some(again) => {
                        self.screen.note(&format!("again: {}", beginning(&again.question.text)));
                        return self.ask(again).await;
                    }
                    None => "there is no message to send again".to_owned(),
                },
                Ok(Command::Quit) => return Ok(Then::End),
                Ok(command) => match self.obey(command) {
                    Ok(()) => return Ok(Then::GoOn),
                    Err(why) => why,
                },
                Err(why) => why,
            },
        };
        if !self.manner.is_interactive {
            return Err(usage(wrong));
        }
        self.screen.error(&wrong);
        Ok(Then::GoOn)
    }

    /// Does what a command says that sends nothing; the error says why it cannot be done.
    fn obey(&mut self, command: Command) -> Result<(), String> {
        match command {
            Command::Image(files) => {
                let count = self.conversation.attach(picture::read_all(&files)?);
                self.screen.note(&format!("pictures of the next message: {count}"));
            }
            Command::System(text) => self.conversation.set_system(text),
            Command::Policy(changes) => {
                changes.into_iter().for_each(|change| self.settings.policy.change(change));
                self.screen.note(&self.settings.policy.to_string());
            }
            Command::Undo => {
                let dropped = self.conversation.undo().ok_or("there is no message to drop")?;
                self.screen.note(&format!("dropped: {}", beginning(&dropped)));
            }
            Command::Reset => {
                self.conversation.reset();
                self.screen.note("a new conversation");
            }
            Command::Save(file) => {
                save(&file, &self.settings.model, self.conversation.messages(None))?;
                self.screen.note(&format!("written to {}", file.display()));
            }
            Command::Stats => self.stats(),
            Command::Help => self.screen.note(HELP),
            // Those are handled where requests are sent and where the loop ends.
            Command::Retry | Command::Quit => {}
        }
        Ok(())
    }

    fn stats(&mut self) {
        self.screen.note(&self.totals.line());
        if self.totals.receipt.is_object() {
            receipt(&self.totals.receipt).iter().for_each(|line| self.screen.note(line));
        }
    }

    /// Sends a message with everything that was said before it, and prints the answer.
    async fn ask(&mut self, again: Again) -> anyhow::Result<Then> {
        let messages = self.conversation.messages(Some(&again.question));
        let body = request::body(&self.settings, messages)?;
        let mut reading = Reading::new(Instant::now());
        let ended = {
            let screen = &mut self.screen;
            let mut on_piece = |piece: &_| screen.piece(piece);
            tokio::select! {
                ended = asking::ask(&self.client, body, &mut reading, &mut on_piece) => match ended {
                    Ok(()) => Ended::Whole,
                    Err(failure) => Ended::Failed(failure),
                },
                Ok(()) = ctrl_c() => Ended::Stopped,
            }
        };
        self.screen.end();
        self.asked += 1;
        self.report(&again.question, &reading, &ended);
        let then = match ended {
            Ended::Stopped if !self.manner.is_interactive => Then::End,
            _ => Then::GoOn,
        };
        self.failed += u64::from(ended != Ended::Whole);
        settle(&mut self.conversation, again, reading, &ended);
        Ok(then)
    }

    /// Prints what became of a message.
    fn report(&mut self, question: &Question, reading: &Reading, ended: &Ended) {
        if *ended == Ended::Whole {
            self.totals.add(reading);
        }
        if self.manner.is_json {
            self.screen.document(&document(question, reading, ended));
            return;
        }
        match ended {
            Ended::Whole => self.screen.note(&figures::line(reading)),
            Ended::Stopped if reading.text.is_empty() => {
                self.screen.note("stopped before the first word; /retry asks again")
            }
            Ended::Stopped => self.screen.note("stopped; what was said is kept"),
            Ended::Failed(failure) => {
                self.screen.error(&failure.to_string());
                if self.manner.is_interactive {
                    self.screen.note("the message is kept for /retry; nothing of the answer is");
                }
            }
        }
    }
}

/// Keeps what belongs to the conversation: an answer, also one that was stopped, or else the message for another try.
fn settle(conversation: &mut Conversation, again: Again, reading: Reading, ended: &Ended) {
    let Again { question, answer } = again;
    let is_kept = match ended {
        Ended::Whole => true,
        Ended::Stopped => !reading.text.is_empty(),
        Ended::Failed(_) => false,
    };
    match (is_kept, answer) {
        (true, _) => conversation.answered(question, reading.text),
        // A try that failed does not cost the answer that was there.
        (false, Some(answer)) => conversation.answered(question, answer),
        (false, None) => conversation.unanswered(question),
    }
}

/// The document of a turn.
fn document(question: &Question, reading: &Reading, ended: &Ended) -> Value {
    if let Ended::Failed(failure) = ended {
        return json!({"user": question.text, "error": failure.json()});
    }
    let seconds = reading.timeline.whole().as_secs_f64();
    let ttft_ms = reading.timeline.first().map(|first| first.as_secs_f64() * 1e3);
    json!({
        "user": question.text,
        "assistant": reading.text,
        "usage": reading.account.usage,
        "receipt": reading.account.receipt,
        "seconds": seconds,
        "ttft_ms": ttft_ms,
    })
}

/// Writes the conversation as the body of a request.
fn save(file: &Path, model: &str, messages: Vec<Value>) -> Result<(), String> {
    let body = json!({"model": model, "messages": messages});
    fs::write(file, format!("{body:#}\n")).map_err(|error| format!("cannot write {}: {error}", file.display()))
}

/// The beginning of a message, on one line.
fn beginning(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= CHARS_MAX {
        return line;
    }
    line.chars().take(CHARS_MAX).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(answer: Option<&str>, said: &str, ended: &Ended) -> Vec<Value> {
        let mut conversation = Conversation::default();
        let question = conversation.ask("q".to_owned());
        let mut reading = Reading::new(Instant::now());
        reading.text = said.to_owned();
        settle(&mut conversation, Again { question, answer: answer.map(str::to_owned) }, reading, ended);
        conversation.messages(None).iter().map(|message| message["content"].clone()).collect()
    }

    #[test]
    fn only_answers_are_kept_and_what_was_said_before_ctrl_c() {
        let broken = Ended::Failed(Failure::Broken("cut".to_owned()));
        assert_eq!(after(None, "a", &Ended::Whole), ["q", "a"]);
        assert_eq!(after(None, "a", &Ended::Stopped), ["q", "a"]);
        assert!(after(None, "", &Ended::Stopped).is_empty() && after(None, "a", &broken).is_empty());
        assert_eq!(after(Some("b"), "a", &Ended::Whole), ["q", "a"]);
        assert_eq!(after(Some("b"), "a", &broken), ["q", "b"]);
        assert_eq!(after(Some("b"), "", &Ended::Stopped), ["q", "b"]);
    }

    #[test]
    fn a_long_message_is_shown_by_its_beginning() {
        assert_eq!(beginning(" a\n b "), "a b");
        assert_eq!(beginning(&"x".repeat(200)).len(), CHARS_MAX + 3);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let why = save(Path::new("/no/such/folder/a.json"), "m", Vec::new()).unwrap_err();
        assert!(why.contains("/no/such/folder/a.json"), "{why}");
    }
}
