//! Calibration samples: cases of a suite as the cluster would see them, with their right answers behind them.

use anyhow::Context;
use secateur_model::{Model, Picture, PictureLimits, Segment, calibrate::Sample};
use secateur_pruning::VisualPolicy;
use secateur_router::{
    openai::{ChatJob, Limits, chat},
    prompt,
    served::ServedModel,
};
use serde_json::json;

use crate::suite::{Case, expected::Expected};

/// What prompts are pruned with, by how many pictures they have.
#[derive(Clone, Copy, Debug)]
pub struct Pruning {
    /// One.
    pub one: VisualPolicy,
    /// Several.
    pub several: VisualPolicy,
}

/// A prompt laid out, and the text of its answer.
pub struct Laid {
    segments: Vec<Piece>,
    answer: String,
}

enum Piece {
    Text(Vec<u32>),
    Visual(secateur_model::VisualTokens),
}

/// Lays a case's prompt out: template, tokens, pictures looked at and pruned.
pub fn lay_out(case: &Case, served: &ServedModel, model: &Model, pruning: Pruning) -> anyhow::Result<Laid> {
    let answer = case.answer.as_ref().map(Expected::text).context("it has no answer to calibrate on")?;
    let job = job(case, served)?;
    let limit = u32::try_from(model.info().max_positions).unwrap_or(u32::MAX);
    let prompt = prompt::build(served, &job, limit)?;
    let mut pictures = Vec::with_capacity(job.pictures.len());
    for picture in &job.pictures {
        pictures.push(Picture::decode(&picture.bytes, &PictureLimits::default())?);
    }
    let seen = if pictures.is_empty() { Vec::new() } else { model.see(&pictures)? };
    let words: Vec<u32> = prompt
        .user_spans
        .iter()
        .flat_map(|span| &prompt.tokens[span.start as usize..span.end as usize])
        .copied()
        .filter(|id| served.image_token.as_ref().is_none_or(|image| image.id != *id))
        .collect();
    let policy = if seen.len() > 1 { pruning.several } else { pruning.one };
    let kept = model.choose(policy, &seen, &words)?.kept;
    let mut visual = Vec::with_capacity(seen.len());
    for (tokens, indices) in seen.iter().zip(&kept) {
        visual.push(tokens.keep(indices)?);
    }
    Ok(Laid { segments: pieces(&prompt.tokens, served, visual), answer: answer.to_owned() })
}

fn job(case: &Case, served: &ServedModel) -> anyhow::Result<ChatJob> {
    let body = json!({"messages": case.messages()?});
    let limits = Limits { images_max: case.images.len().max(1), image_bytes_max: usize::MAX, vocab: served.vocab };
    chat::parse(&body, &limits).with_context(|| format!("case {}", case.id))
}

fn pieces(tokens: &[u32], served: &ServedModel, visual: Vec<secateur_model::VisualTokens>) -> Vec<Piece> {
    let image = served.image_token.as_ref().map(|image| image.id);
    let mut visual = visual.into_iter();
    let mut pieces = Vec::new();
    for stretch in tokens.chunk_by(|one, other| Some(*one) != image && Some(*other) != image) {
        match stretch {
            [id] if Some(*id) == image => pieces.extend(visual.next().map(Piece::Visual)),
            text => pieces.push(Piece::Text(text.to_vec())),
        }
    }
    pieces
}

impl Laid {
    /// The sample in which the answer follows the prompt, `lead` in front of it, and the end token behind it.
    pub fn sample(&self, served: &ServedModel, model: &Model, lead: &str) -> anyhow::Result<Sample> {
        let text = format!("{lead}{}", self.answer);
        let encoding = served.tokenizer.encode(text, false).map_err(|error| anyhow::anyhow!("{error}"))?;
        let mut answer = encoding.get_ids().to_vec();
        answer.extend(served.stop_token_ids.first());
        let segments: Vec<Segment<'_>> = self
            .segments
            .iter()
            .map(|piece| match piece {
                Piece::Text(tokens) => Segment::Text(tokens),
                Piece::Visual(tokens) => Segment::Visual(tokens.clone()),
            })
            .collect();
        Ok(model.sample(&segments, &answer)?)
    }
}
