//! Begins the choices of a request: each gets an order of its own, a permit to run at the nodes, and legs.

use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use secateur_common::{
    ids,
    shutdown::{CancellationToken, DropGuard},
};
use secateur_proto::{ErrorCode, ServiceError, v1::PromptScore};
use tokio::time::Instant;

use crate::{
    admission::{Rank, Ticket},
    answer::{self, Answer, AnswerContext, AnswerReader, Begin, Begun, Style},
    app::App,
    cluster::{Facts, Prefix},
    fit::{Fitted, too_long_after_all},
    keys::Charge,
    legs::{Order, RequestIds, Run},
    metrics::{AnswerClock, Counted},
    prompt::{Prompt, window},
    request::{Generation, Picture, PromptScores, SamplingChoice},
    served::penalizes_repetition,
    tools::ToolReader,
};

/// A prompt, ready for the nodes.
pub struct Prepared {
    /// Tokens of the prompt.
    pub prompt: Prompt,
    /// Pictures of the prompt.
    pub pictures: Vec<Picture>,
    /// Digests of the prompt's prefixes.
    pub prefixes: Vec<Prefix>,
    /// The field that an error about the prompt's length names.
    pub param: String,
    /// Text that is returned before each answer (`echo`).
    pub echo: Option<String>,
    /// Whether the answer's text continues the prompt's text, as it does for a raw prompt.
    pub is_continued: bool,
}

/// Bytes of one token's log probability in a scored prompt: its text, and its place in the reply.
const SCORE_BYTES: usize = 256;

/// Copies of each token: in the prompt, in the request to either node, and in the tokens that penalties count.
const TOKEN_COPIES: usize = 4;

impl Prepared {
    /// Bytes that the prompt holds until its answers end. The copy of a picture in the request to prefill is not
    /// counted, since it is freed soon.
    pub fn weight(&self, sampling: &SamplingChoice) -> usize {
        let pictures: usize = self.pictures.iter().map(|picture| picture.bytes.len()).sum();
        let tokens = self.prompt.tokens.len();
        let scores = self.score_top(sampling).map_or(0, |top| tokens * (top as usize + 1) * SCORE_BYTES);
        pictures + tokens * size_of::<u32>() * TOKEN_COPIES + scores + self.echo.as_ref().map_or(0, String::len)
    }

    /// Number of most likely tokens that are needed with each token of the prompt; `None` if it need not be scored.
    fn score_top(&self, sampling: &SamplingChoice) -> Option<u32> {
        sampling.prompt_logprobs.max(self.echoed_logprobs(sampling))
    }

    /// The number of alternatives where a returned prompt has log probabilities like its answer.
    fn echoed_logprobs(&self, sampling: &SamplingChoice) -> Option<u32> {
        sampling.top_logprobs.filter(|_| self.echo.is_some())
    }
}

/// The state that all choices of a request share.
pub struct Shared {
    /// The router's model, nodes and metrics.
    pub app: Arc<App>,
    /// The validated request without its prompt.
    pub generation: Generation,
    /// Facts about the pair of nodes with the most room.
    pub facts: Facts,
    /// Ids by which the request can be followed.
    pub ids: RequestIds,
    /// Time at which the router accepted the request.
    pub accepted: Instant,
    /// Deadline of the request.
    pub deadline: Instant,
    /// Rank of the request among those that wait.
    pub rank: Rank,
    /// Code of the request's first error, once it has failed.
    pub failure: Arc<OnceLock<ErrorCode>>,
}

/// One choice, before it has begun.
struct Candidate {
    shared: Arc<Shared>,
    prepared: Arc<Prepared>,
    fitted: Fitted,
    /// Number of the choice among those of its prompt.
    number: u32,
    epoch: String,
    ticket: Ticket,
    charge: Charge,
}

/// The time at which a choice begins.
enum Start {
    /// At once. The prompt's other choices begin when this guard is dropped.
    Leads(DropGuard),
    /// When the KV of the prompt's first choice has been shipped.
    Follows(CancellationToken),
}

/// The choices of one prompt, one for each ticket with its charge, the first under `epoch`. The first choice leads: the
/// others begin when its KV has been shipped, so that they find the prompt in prefill's prefix cache and, on the same
/// decode node, in the KV that decode keeps.
pub fn begins(
    shared: &Arc<Shared>,
    prepared: Prepared,
    fitted: Fitted,
    epoch: String,
    tickets: Vec<(Ticket, Charge)>,
) -> Vec<Begin> {
    let prepared = Arc::new(prepared);
    let shipped = CancellationToken::new();
    let mut lead = Some((shipped.clone().drop_guard(), epoch));
    let numbered = (0u32..).zip(tickets);
    let begin = |(number, (ticket, charge)): (u32, (Ticket, Charge))| {
        let (shared, prepared) = (shared.clone(), prepared.clone());
        let candidate = |epoch| Candidate { shared, prepared, fitted, number, epoch, ticket, charge };
        match lead.take() {
            Some((lead, epoch)) => candidate(epoch).begin(Start::Leads(lead)).boxed(),
            None => {
                let candidate = candidate(ids::time_ordered());
                candidate.begin(Start::Follows(shipped.clone())).boxed()
            }
        }
    };
    numbered.map(begin).collect()
}

impl Candidate {
    async fn begin(self, start: Start) -> Result<Begun, ServiceError> {
        let Self { shared, prepared, fitted, number, epoch, ticket, charge } = self;
        let waiting = Instant::now();
        let lead = match start {
            Start::Leads(lead) => Some(lead),
            Start::Follows(shipped) => {
                shipped.cancelled().await;
                None
            }
        };
        let permit = ticket.turn(shared.rank, shared.deadline).await?;
        let order = order(&shared, &prepared, fitted, number, epoch);
        let sampling = &shared.generation.sampling;
        let context = AnswerContext {
            epoch: order.epoch.clone(),
            before: if prepared.is_continued { window(&order.tokens).to_vec() } else { Vec::new() },
            text_tokens: fitted.text_tokens,
            prompt_tokens_max: fitted.prompt_positions_max,
            stop: shared.generation.stop.clone(),
            stop_token_ids: order.stop_token_ids.iter().copied().collect(),
            reader: reader(&shared, &prepared.prompt),
            logprobs: sampling.top_logprobs.map(|top| Style { top, as_ids: sampling.tokens_as_ids }),
            lists_end: prepared.echoed_logprobs(sampling).is_some(),
            is_empty: fitted.max_new_tokens == 0,
            queued: waiting.elapsed(),
            accepted: shared.accepted,
        };
        let app = &shared.app;
        let counted = Counted {
            request_id: shared.ids.request_id.clone(),
            accepted: shared.accepted,
            leads: number == 0,
            failure: shared.failure.clone(),
        };
        let clock = AnswerClock::new(app.metrics.clone(), counted, charge);
        let mut run = Run::start(app.cluster.clone(), app.metrics.clone(), order).await.map_err(|error| {
            clock.failed(error.code);
            in_client_terms(too_long_after_all(error, &shared.facts, &prepared.param), &prepared.pictures)
        })?;
        let scores = scores(app, &prepared, run.take_scores()).await.inspect_err(|error| clock.failed(error.code))?;
        Ok(Begun { answer: Answer::new(run, context, app.model.clone(), clock), permit, scores, lead })
    }
}

/// The scores of a prompt's tokens with their texts, if there are any. Naming them takes time, so it has a thread of its
/// own.
async fn scores(
    app: &App,
    prepared: &Arc<Prepared>,
    found: Vec<PromptScore>,
) -> Result<Option<Arc<PromptScores>>, ServiceError> {
    if found.is_empty() {
        return Ok(None);
    }
    let (model, prepared) = (app.model.clone(), prepared.clone());
    let naming = tokio::task::spawn_blocking(move || {
        Arc::new(answer::named(&model, &prepared.prompt.tokens, found, prepared.echo.as_deref()))
    });
    naming.await.map(Some).map_err(|error| {
        tracing::error!(%error, "naming the tokens of a prompt failed");
        ServiceError::new(ErrorCode::Internal, "the prompt's scores could not be written; the failure is logged")
    })
}

fn order(shared: &Shared, prepared: &Prepared, fitted: Fitted, number: u32, epoch: String) -> Order {
    let (app, asked) = (&shared.app, &shared.generation);
    let mut choice = asked.sampling.clone();
    // Choices differ from each other, and the same request with the same seed still gives the same answers again.
    choice.seed = choice.seed.map(|seed| seed.wrapping_add(number.into()));
    let sampling = app.model.defaults.complete(&choice, asked.stop.min_tokens);
    // The choices of a prompt share its scores.
    let score_top = prepared.score_top(&choice).filter(|_| number == 0);
    Order {
        epoch,
        ids: shared.ids.clone(),
        penalized_tokens: if penalizes_repetition(&sampling) { text_tokens(app, &prepared.prompt) } else { Vec::new() },
        tokens: prepared.prompt.tokens.clone(),
        prefixes: prepared.prefixes.clone(),
        user_spans: prepared.prompt.user_spans.clone(),
        images: prepared.pictures.iter().map(|picture| picture.bytes.clone()).collect(),
        sampling,
        score_top,
        // Prefill draws a token, whether it is wanted or not.
        max_new_tokens: fitted.max_new_tokens.max(1),
        prompt_positions_max: fitted.prompt_positions_max,
        positions_needed: fitted.positions_needed,
        stop_token_ids: stop_token_ids(shared),
        visual: asked.visual,
        transfer: asked.transfer,
        deadline: shared.deadline,
    }
}

/// The readers of the answer's text. An answer of a given form is that form from its first token on, without reasoning.
fn reader(shared: &Shared, prompt: &Prompt) -> AnswerReader {
    let generation = &shared.generation;
    AnswerReader {
        reasoning: prompt.reasoning.clone().filter(|_| generation.sampling.structured.is_none()),
        hides_reasoning: generation.hides_reasoning,
        tools: tool_reader(shared),
    }
}

/// The reader of calls in the answer's text, if it may hold any.
fn tool_reader(shared: &Shared) -> Option<ToolReader> {
    let tools = shared.generation.tools.as_ref()?;
    let dialect = shared.app.model.tool_dialect?;
    let names = tools.functions.iter().map(|function| function.name.clone()).collect();
    Some(ToolReader::new(dialect, names, tools.is_parallel))
}

fn text_tokens(app: &App, prompt: &Prompt) -> Vec<u32> {
    let image = app.model.image_token.as_ref().map(|token| token.id);
    prompt.tokens.iter().copied().filter(|id| Some(*id) != image).collect()
}

/// The client's stop tokens, and the model's own end tokens unless the client ignores them.
fn stop_token_ids(shared: &Shared) -> Vec<u32> {
    let stop = &shared.generation.stop;
    let mut ids = stop.token_ids.clone();
    if !stop.ignores_end_tokens {
        ids.extend(shared.app.model.stop_token_ids.iter().chain(&shared.facts.stop_token_ids));
    }
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Replaces the node's name for a picture (`images[1]`) in an error by the client's field.
fn in_client_terms(error: ServiceError, pictures: &[Picture]) -> ServiceError {
    let index = error
        .param
        .as_deref()
        .and_then(|param| param.strip_prefix("images[")?.split(']').next()?.parse::<usize>().ok());
    match index.and_then(|index| pictures.get(index)) {
        Some(picture) => error.with_param(picture.param.clone()),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_picture_number_becomes_the_clients_field() {
        let picture = |param: &str| Picture { bytes: bytes::Bytes::new(), param: param.to_owned() };
        let pictures = [picture("messages[0].content[0].image_url.url"), picture("messages[1].content[2].image_url")];
        let error = |param| ServiceError::new(ErrorCode::InvalidImage, "broken").with_param(param);
        let mapped = |param| in_client_terms(error(param), &pictures).param;
        assert_eq!(mapped("images[1]").as_deref(), Some("messages[1].content[2].image_url"));
        assert_eq!(mapped("images[0].pixels").as_deref(), Some("messages[0].content[0].image_url.url"));
        assert_eq!(mapped("images[7]").as_deref(), Some("images[7]"));
        assert_eq!(mapped("tokens").as_deref(), Some("tokens"));
    }
}
