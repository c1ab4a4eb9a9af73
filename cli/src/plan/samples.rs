//! Calibration samples: cases of a suite as the cluster would see them, followed by their right answers.

use anyhow::Context;
use secateur_model::{Model, Picture, PictureLimits, Segment, calibrate::Sample};
use secateur_pruning::VisualPolicy;
use secateur_router::{
    openai::chat,
    prompt,
    request::{ChatJob, Fetched, Limits},
    served::ServedModel,
};
use serde_json::json;

use crate::suite::{Case, expected::Expected};

/// Pruning policies of prompts, by their number of pictures.
#[derive(Clone, Copy, Debug)]
pub struct Pruning {
    /// Policy for one picture.
    pub one: VisualPolicy,
    /// Policy for several pictures.
    pub several: VisualPolicy,
}

impl Pruning {
    fn of(self, pictures: usize) -> VisualPolicy {
        if pictures > 1 { self.several } else { self.one }
    }
}

/// A prompt that is laid out, and the text of its answer.
pub struct LaidOut {
    segments: Vec<Piece>,
    /// Text of the answer; `None` if the case has none.
    answer: Option<String>,
}

enum Piece {
    Text(Vec<u32>),
    Visual(secateur_model::VisualTokens),
}

/// Lays out a case's prompt: template, tokens, pictures encoded and pruned.
pub fn lay_out(case: &Case, served: &ServedModel, model: &Model, pruning: Pruning) -> anyhow::Result<LaidOut> {
    let job = job(case, served)?;
    let limit = u32::try_from(model.info().max_positions).unwrap_or(u32::MAX);
    let prompt = prompt::build(served, &job, limit)?;
    let policy = pruning.of(job.pictures.len());
    let mut pictures = Vec::with_capacity(job.pictures.len());
    for picture in job.pictures {
        pictures.push(
            Picture::decode(&picture.with_bytes(&Fetched::new())?.bytes, &PictureLimits::default())?
                .with_view(policy.view()),
        );
    }
    let seen = if pictures.is_empty() { Vec::new() } else { model.see(&pictures)? };
    let words: Vec<u32> = prompt
        .user_spans
        .iter()
        .flat_map(|span| &prompt.tokens[span.start as usize..span.end as usize])
        .copied()
        .filter(|id| served.image_token.as_ref().is_none_or(|image| image.id != *id))
        .collect();
    let kept = model.choose(pruning.of(seen.len()), &seen, &words)?.kept;
    let mut visual = Vec::with_capacity(seen.len());
    for (tokens, indices) in seen.iter().zip(&kept) {
        visual.push(tokens.keep(indices)?);
    }
    let answer = case.answer.as_ref().map(|answer| Expected::text(answer).to_owned());
    Ok(LaidOut { segments: pieces(&prompt.tokens, served, visual), answer })
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

impl LaidOut {
    /// Number of rows of the prompt.
    pub fn rows(&self) -> usize {
        let of = |piece: &Piece| match piece {
            Piece::Text(tokens) => tokens.len(),
            Piece::Visual(tokens) => tokens.len(),
        };
        self.segments.iter().map(of).sum()
    }

    /// The sample of the prompt followed by `lead`, the case's answer and the end token.
    pub fn sample(&self, served: &ServedModel, model: &Model, lead: &str) -> anyhow::Result<Sample> {
        let answer = self.answer.as_ref().context("a case has no answer to calibrate on; --answers own makes one")?;
        let encoding = served.tokenizer.encode(format!("{lead}{answer}"), false);
        let mut answer = encoding.map_err(|error| anyhow::anyhow!("{error}"))?.get_ids().to_vec();
        answer.extend(served.stop_token_ids.first());
        Ok(model.sample(&self.segments(), &answer)?)
    }

    fn segments(&self) -> Vec<Segment<'_>> {
        let mut segments = Vec::with_capacity(self.segments.len());
        for piece in &self.segments {
            segments.push(match piece {
                Piece::Text(tokens) => Segment::Text(tokens),
                Piece::Visual(tokens) => Segment::Visual(tokens.clone()),
            });
        }
        segments
    }
}

/// Prompts that are answered together, in one pass each step.
const ANSWERED_TOGETHER: usize = 16;

/// The samples of the prompts followed by the unpruned model's own greedy answers, of at most `tokens` tokens.
pub fn with_own_answers(
    laid: &[LaidOut],
    served: &ServedModel,
    model: &Model,
    tokens: usize,
) -> anyhow::Result<Vec<Sample>> {
    let mut samples = Vec::with_capacity(laid.len());
    for some in laid.chunks(ANSWERED_TOGETHER) {
        let prompts: Vec<Vec<Segment<'_>>> = some.iter().map(LaidOut::segments).collect();
        let segments: Vec<&[Segment<'_>]> = prompts.iter().map(Vec::as_slice).collect();
        let answers = model.greedy_all(&segments, tokens, &served.stop_token_ids)?;
        for (prompt, answer) in segments.iter().zip(answers) {
            samples.push(model.sample(prompt, &answer)?);
        }
    }
    Ok(samples)
}
