//! The results of a scenario's requests.

use std::time::Duration;

use tokio::task::JoinError;

use super::answer::Answer;

/// Results of a scenario's requests.
#[derive(Default)]
pub struct Outcome {
    pub answers: Vec<Answer>,
    pub errors: Vec<String>,
    /// Time from first request to last answer, summed over rounds.
    pub duration: Duration,
}

impl Outcome {
    /// The results of two rounds together.
    pub fn and(mut self, other: Outcome) -> Outcome {
        self.answers.extend(other.answers);
        self.errors.extend(other.errors);
        self.duration += other.duration;
        self
    }

    /// Adds the result of one request.
    pub fn add(&mut self, ended: Result<anyhow::Result<Answer>, JoinError>) {
        match ended {
            Ok(Ok(answer)) => self.answers.push(answer),
            Ok(Err(error)) => self.errors.push(format!("{error:#}")),
            Err(error) => self.errors.push(error.to_string()),
        }
    }
}
