//! `POST /v1/completions`: raw prompts, each answered on its own.

use secateur_proto::ServiceError;
use serde_json::Value;

use super::{begin::Prepared, generate::Job};
use crate::{
    app::App,
    cluster::prefixes,
    openai::{
        completion::{self, CompletionJob},
        reply::OpenAiReply,
        response::{ScoreStyle, Shape},
    },
    prompt,
    reply::{Format, ReplyId},
    request::{Fetched, Generation, Limits, RawPrompt, Words},
};

impl Job for CompletionJob {
    fn parse(body: &Value, limits: &Limits) -> Result<Self, ServiceError> {
        completion::parse(body, limits)
    }

    fn generation(&self) -> &Generation {
        &self.generation
    }

    fn format(&self, reply: ReplyId) -> Box<dyn Format> {
        let sampling = &self.generation.sampling;
        let scores = ScoreStyle {
            echoed: sampling.top_logprobs.filter(|_| self.echoes),
            listed: sampling.prompt_logprobs,
            as_ids: sampling.tokens_as_ids,
        };
        Box::new(OpenAiReply::new(Shape::Text, reply, self.generation.stream).with_scores(scores))
    }

    fn prepare(self, app: &App, _: &Fetched) -> Result<(Generation, Vec<Prepared>), ServiceError> {
        let one = |prompt| prepared(app, prompt, self.adds_special_tokens, self.echoes);
        let prompts = self.prompts.into_iter().map(one).collect::<Result<_, _>>()?;
        Ok((self.generation, prompts))
    }
}

fn prepared(app: &App, raw: RawPrompt, adds_special_tokens: bool, echoes: bool) -> Result<Prepared, ServiceError> {
    let prompt = prompt::raw(&app.model, &raw, adds_special_tokens, app.max_positions())?;
    let echo = match raw.words {
        _ if !echoes => None,
        Words::Text(text) => Some(text),
        Words::Tokens(ids) => Some(prompt::text_of(&app.model, &ids)),
    };
    let prefixes = prefixes(&prompt.tokens, None, []);
    Ok(Prepared { prompt, pictures: Vec::new(), prefixes, param: raw.param, echo, is_continued: true })
}
