//! One case: its request, as any OpenAI client would send it, and the answer.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{
    arguments::EvalArguments,
    combination::Combination,
    divergence::{Divergence, Step, TOP, steps},
    receipt::Receipt,
};
use crate::{
    client::{connection::Client, refusal::error_text},
    suite::Case,
};

/// The outcome of a case.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Answered(Box<Answer>),
    /// There is no answer, which counts as wrong.
    Failed,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    pub text: String,
    /// Whether the answer is right; `None` if the case does not say what is right.
    pub is_right: Option<bool>,
    /// The receipt; other servers give none.
    pub receipt: Option<Receipt>,
    /// Distributions at each place of the answer; only kept for the reference.
    pub steps: Option<Vec<Step>>,
    /// Divergence along the reference's answer.
    pub divergence: Option<Divergence>,
}

impl Outcome {
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Outcome::Answered(answer) => Some(answer),
            Outcome::Failed => None,
        }
    }

    pub fn is_right(&self) -> bool {
        self.answer().is_some_and(|answer| answer.is_right == Some(true))
    }

    pub fn has_failed(&self) -> bool {
        matches!(self, Outcome::Failed)
    }

    pub fn receipt(&self) -> Option<&Receipt> {
        self.answer()?.receipt.as_ref()
    }

    /// Whether both outcomes are answers with the same text.
    pub fn is_same_as(&self, other: &Outcome) -> bool {
        matches!((self.answer(), other.answer()), (Some(one), Some(other)) if one.text == other.text)
    }
}

/// The reason why there is no answer.
#[derive(Debug)]
pub enum Trouble {
    /// The router does not support what every request of this combination asks for.
    Refused(String),
    /// This request failed.
    Failed(String),
}

/// One case to ask under one combination.
pub struct CaseRun<'a> {
    pub client: &'a Client,
    pub model: &'a str,
    pub arguments: &'a EvalArguments,
    pub combination: &'a Combination,
    pub case: &'a Case,
    /// Whether some combination is compared with a reference.
    pub is_compared: bool,
    /// The reference's answer; `None` if this is the reference, or there is none.
    pub reference: Option<&'a Answer>,
}

impl CaseRun<'_> {
    /// Asks the case. An error here comes from this machine, such as a picture that can no longer be read.
    pub async fn ask(&self) -> anyhow::Result<Result<Outcome, Trouble>> {
        let body = self.body()?;
        Ok(match exchange(self.client, &body).await {
            Ok(reply) => self.outcome(&body, &reply).await,
            Err(trouble) => Err(trouble),
        })
    }

    async fn outcome(&self, body: &Value, reply: &Value) -> Result<Outcome, Trouble> {
        let message = reply["choices"][0]["message"].as_object().ok_or_else(|| not_openai(&reply.to_string()))?;
        let text = message.get("content").and_then(Value::as_str).unwrap_or_default().to_owned();
        let own = self.is_compared.then(|| steps(reply)).flatten();
        let divergence = match (self.reference.and_then(|reference| reference.steps.as_deref()), &own) {
            (Some(reference), Some(own)) => Some(self.divergence(reference, own, body).await?),
            _ => None,
        };
        Ok(Outcome::Answered(Box::new(Answer {
            is_right: self.case.answer.as_ref().map(|expected| expected.is_met_by(&text)),
            text,
            receipt: Receipt::of(reply),
            steps: own.filter(|_| self.reference.is_none()),
            divergence,
        })))
    }

    /// Computes the divergence along the reference's answer; where this answer has other words, the case is asked again
    /// with the reference's tokens forced.
    async fn divergence(&self, reference: &[Step], own: &[Step], body: &Value) -> Result<Divergence, Trouble> {
        let ids: Vec<u32> = reference.iter().map(|step| step.id).collect();
        if own.iter().map(|step| &step.id).eq(&ids) {
            return Ok(Divergence::between(reference, own));
        }
        let mut body = body.clone();
        body["max_tokens"] = ids.len().into();
        body["secateur"]["forced_token_ids"] = ids.into();
        let reply = exchange(self.client, &body).await?;
        Ok(Divergence::between(reference, &steps(&reply).unwrap_or_default()))
    }

    /// The case's request. Sampling is greedy, so that every run gives the same answers.
    fn body(&self) -> anyhow::Result<Value> {
        let mut body = json!({
            "model": self.model,
            "messages": self.case.messages()?,
            "temperature": 0,
            "max_tokens": self.case.max_tokens.unwrap_or(self.arguments.max_tokens),
            "secateur": self.combination.extension(),
        });
        if self.is_compared {
            body["logprobs"] = true.into();
            body["top_logprobs"] = TOP.into();
            body["return_tokens_as_token_ids"] = true.into();
        }
        Ok(body)
    }
}

async fn exchange(client: &Client, body: &Value) -> Result<Value, Trouble> {
    let exchanged = client.exchange(body.to_string().into_bytes()).await;
    let (status, text) = exchanged.map_err(|error| Trouble::Failed(format!("{error:#}")))?;
    if !status.is_success() {
        return Err(trouble(status, &text));
    }
    serde_json::from_str(&text).map_err(|_| not_openai(&text))
}

fn not_openai(text: &str) -> Trouble {
    Trouble::Failed(format!("the answer is not an OpenAI server's: {}", error_text(text)))
}

/// A refusal of the extension applies to all cases; any other error, for example a prompt that is too long, to one.
fn trouble(status: StatusCode, text: &str) -> Trouble {
    let body: Value = serde_json::from_str(text).unwrap_or(Value::Null);
    let is_of_extension = |param: &str| param == "secateur" || param.starts_with("secateur.");
    match body["error"]["param"].as_str() {
        Some(param) if status == StatusCode::BAD_REQUEST && is_of_extension(param) => {
            Trouble::Refused(error_text(text))
        }
        _ => Trouble::Failed(format!("{status}: {}", error_text(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refused_extension_ends_a_combination() {
        let of = |status: StatusCode, param: &str| {
            trouble(status, &json!({"error": {"message": "no", "param": param}}).to_string())
        };
        assert!(
            matches!(of(StatusCode::BAD_REQUEST, "secateur.visual.method"), Trouble::Refused(text) if text == "no")
        );
        assert!(matches!(of(StatusCode::BAD_REQUEST, "messages"), Trouble::Failed(_)));
        assert!(matches!(of(StatusCode::BAD_GATEWAY, "secateur.visual.method"), Trouble::Failed(_)));
        let page = trouble(StatusCode::BAD_REQUEST, "<html>");
        assert!(matches!(page, Trouble::Failed(text) if text == "400 Bad Request: <html>"));
    }
}
