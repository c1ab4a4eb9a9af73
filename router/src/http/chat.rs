//! `POST /v1/chat/completions`: a conversation, rendered by the model's template, and answered.

use secateur_proto::{ErrorCode, ServiceError};
use serde_json::Value;

use super::{begin::Prepared, generate::Job};
use crate::{
    app::App,
    cluster::prefixes,
    openai::{
        chat::{self, REASONING_EFFORT},
        reply::OpenAiReply,
        response::{ScoreStyle, Shape},
    },
    prompt::{self, Prompt},
    reply::{Format, ReplyId},
    request::{ChatJob, Fetched, Generation, Limits, Opening, Picture, PictureUrl, Structured},
    template::ChatTemplate,
    tools,
};

/// Holds an answer that has to be a call to the grammar of calls. Refused where the model is not told of tools.
fn force_calls(app: &App, generation: &mut Generation) -> Result<(), ServiceError> {
    let Some(tools) = &generation.tools else { return Ok(()) };
    let Some(dialect) = app.model.tool_dialect else {
        let message = "the chat template of this model takes no tools; leave tools out";
        return Err(ServiceError::new(ErrorCode::UnsupportedParameter, message).with_param("tools"));
    };
    let Some(grammar) = tools::grammar(dialect, tools) else { return Ok(()) };
    let structured = &mut generation.sampling.structured;
    if let Some(asked) = structured {
        let message = format!("{} cannot be combined with a tool_choice that forces a call", asked.param);
        return Err(ServiceError::new(ErrorCode::InvalidRequest, message).with_param("tool_choice"));
    }
    *structured = Some(Structured { grammar, param: "tools".to_owned() });
    Ok(())
}

/// Refuses an effort of reasoning that the chat template would not pass on to the model.
fn check_effort(app: &App, job: &ChatJob) -> Result<(), ServiceError> {
    let asks = job.template_kwargs.iter().any(|field| field.param == REASONING_EFFORT);
    let is_read = |template: &ChatTemplate| template.reads(REASONING_EFFORT);
    if !asks || app.model.template.as_ref().is_some_and(is_read) {
        return Ok(());
    }
    // The field stands first, where other APIs put their own name for it.
    let message = format!("{REASONING_EFFORT} is not known to the chat template of this model; leave it out");
    Err(ServiceError::new(ErrorCode::UnsupportedParameter, message).with_param(REASONING_EFFORT))
}

/// The prompt of a conversation, if the model can do what its request asks for.
pub fn prompt(app: &App, job: &mut ChatJob) -> Result<Prompt, ServiceError> {
    force_calls(app, &mut job.generation)?;
    check_effort(app, job)?;
    prompt::build(&app.model, job, app.max_positions())
}

impl Job for ChatJob {
    fn parse(body: &Value, limits: &Limits) -> Result<Self, ServiceError> {
        chat::parse(body, limits)
    }

    fn generation(&self) -> &Generation {
        &self.generation
    }

    fn format(&self, reply: ReplyId) -> Box<dyn Format> {
        let scores = ScoreStyle { listed: self.generation.sampling.prompt_logprobs, ..ScoreStyle::default() };
        Box::new(OpenAiReply::new(Shape::Chat, reply, self.generation.stream).with_scores(scores))
    }

    fn urls(&self) -> Vec<PictureUrl> {
        self.urls()
    }

    fn prepare(mut self, app: &App, fetched: &Fetched) -> Result<(Generation, Vec<Prepared>), ServiceError> {
        let prompt = prompt(app, &mut self)?;
        let image_token = app.model.image_token.as_ref().map(|token| token.id);
        let pictures = self.pictures.into_iter().map(|sent| sent.with_bytes(fetched));
        let pictures: Vec<Picture> = pictures.collect::<Result<_, _>>()?;
        let prefixes = prefixes(&prompt.tokens, image_token, pictures.iter().map(|picture| &picture.bytes));
        let prepared = Prepared {
            prompt,
            pictures,
            prefixes,
            param: "messages".to_owned(),
            echo: None,
            is_continued: self.opening == Opening::Continue,
        };
        Ok((self.generation, vec![prepared]))
    }
}
