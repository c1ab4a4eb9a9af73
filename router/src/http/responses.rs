//! `POST /v1/responses`: a conversation of items, answered as the chat request that it means. Nothing is kept.

use secateur_proto::ServiceError;
use serde_json::Value;

use super::{begin::Prepared, generate::Job};
use crate::{
    app::App,
    reply::{Format, ReplyId},
    request::{Fetched, Generation, Limits, PictureUrl},
    responses::ResponsesJob,
};

impl Job for ResponsesJob {
    fn parse(body: &Value, limits: &Limits) -> Result<Self, ServiceError> {
        ResponsesJob::parse(body, limits)
    }

    fn generation(&self) -> &Generation {
        self.generation()
    }

    fn format(&self, reply: ReplyId) -> Box<dyn Format> {
        self.format(reply)
    }

    fn urls(&self) -> Vec<PictureUrl> {
        self.urls()
    }

    fn prepare(self, app: &App, fetched: &Fetched) -> Result<(Generation, Vec<Prepared>), ServiceError> {
        let (chat, names) = self.into_chat();
        let (generation, prompts) = chat.prepare(app, fetched).map_err(|error| names.error(error))?;
        let prompts = prompts.into_iter().map(|prompt| Prepared { param: "input".to_owned(), ..prompt });
        Ok((generation, prompts.collect()))
    }
}
