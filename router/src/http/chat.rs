//! `POST /v1/chat/completions`: a conversation, rendered by the model's template, and answered.

use secateur_proto::ServiceError;

use super::{begin::Prepared, generate::Job};
use crate::{
    app::App,
    cluster::prefixes,
    openai::{Body, ChatJob, Generation, Limits, chat, response::Shape},
    prompt,
};

impl Job for ChatJob {
    const SHAPE: Shape = Shape::Chat;

    fn parse(body: &Body, limits: &Limits) -> Result<Self, ServiceError> {
        chat::parse_body(body, limits)
    }

    fn generation(&self) -> &Generation {
        &self.generation
    }

    fn prepare(self, app: &App) -> Result<(Generation, Vec<Prepared>), ServiceError> {
        let prompt = prompt::build(&app.model, &self, app.max_positions())?;
        let image_token = app.model.image_token.as_ref().map(|token| token.id);
        let prefixes = prefixes(&prompt.tokens, image_token, self.pictures.iter().map(|picture| &picture.bytes));
        let prepared = Prepared {
            prompt,
            pictures: self.pictures,
            prefixes,
            param: "messages".to_owned(),
            echo: None,
            is_continued: false,
        };
        Ok((self.generation, vec![prepared]))
    }
}
