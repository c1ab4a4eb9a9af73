//! One prefill request, validated: code that holds a [`Job`] needs no further checks of it.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use bytes::Bytes;
use secateur_model::Sampling;
use secateur_node::{Identity, handshake};
use secateur_proto::{ErrorCode, SCORE_TOP_MAX, ServiceError, v1};
use secateur_pruning::VisualPolicy;
use secateur_transfer::{DType, Parties, TransferPolicy, visual};

use crate::peers::Peer;

/// A stretch of the prompt as the request gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text tokens, as a range of [`Job::tokens`].
    Text(Range<usize>),
    /// The picture with this index, where its image token stands.
    Image(usize),
}

/// What a prompt is computed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// An answer, whose first token is drawn.
    Answer {
        /// The prompt's tokens are scored too, each with so many most likely tokens in its place; `None` if they are
        /// not.
        score_top: Option<usize>,
    },
    /// One vector; nothing is drawn and nothing shipped.
    Vector(Pooling),
}

/// How the final states of a prompt's positions become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The state of the last position.
    Last,
    /// The mean of the states of all positions.
    Mean,
}

impl Purpose {
    /// Whether the state of every position is read, so that every position has to be computed.
    pub fn reads_all(self) -> bool {
        matches!(self, Self::Answer { score_top: Some(_) } | Self::Vector(Pooling::Mean))
    }
}

/// A validated request.
#[derive(Clone, Debug)]
pub struct Job {
    /// What the prompt is computed for.
    pub purpose: Purpose,
    /// Epoch, attempt, model and plan of the request; sent in the manifest.
    pub parties: Parties,
    /// The request's id, for logs.
    pub request_id: String,
    /// Text tokens with one image token for each picture.
    pub tokens: Vec<u32>,
    /// `tokens` cut at its image tokens.
    pub pieces: Vec<Piece>,
    /// Text tokens of the user's own words, without template and image tokens.
    pub user_tokens: Vec<u32>,
    /// Encoded pictures in prompt order.
    pub images: Vec<Bytes>,
    /// Policy for pruning visual tokens.
    pub visual: VisualPolicy,
    /// Transfer policy.
    pub transfer: TransferPolicy,
    /// Sampling settings for the first token.
    pub sampling: Sampling,
    /// Tokens that end the answer.
    pub stop_token_ids: Vec<u32>,
    /// Tokens of the answer that exist already, appended to the prompt; empty unless the request is a replay.
    pub emitted: Vec<u32>,
    /// Number format in which decode stores KV; `None`: the same as here.
    pub decode_dtype: Option<DType>,
    /// Decode node to which the KV is shipped; `None` if it is not shipped.
    pub decode: Option<Peer>,
    /// Longest time that the request may take.
    pub deadline: Duration,
    /// Time at which the request arrived.
    pub accepted: Instant,
}

impl Job {
    /// Validates a request against what this node runs.
    pub fn new(request: v1::PrefillRequest, identity: &Identity) -> Result<Self, ServiceError> {
        handshake::check_model(identity, &request.model_fingerprint, &request.plan_id)?;
        check_length(&request, identity)?;
        let epoch = handshake::epoch(request.epoch)?;
        let deadline = handshake::deadline(request.deadline_ms)?;
        let visual = match &request.visual {
            Some(message) => visual::policy_from_proto(message)?,
            None if request.images.len() > 1 => identity.recommended_visual_several,
            None => identity.recommended_visual,
        };
        let transfer = TransferPolicy::from_proto(request.transfer)
            .ok_or_else(|| invalid("transfer", format!("unknown transfer policy tag {}", request.transfer)))?;
        if !transfer.is_possible_with(identity.plan.as_deref()) {
            let text = format!("transfer policy {transfer} needs a plan that selects layers; this cluster runs none");
            return Err(invalid("secateur.transfer.policy", text));
        }
        let vocab = identity.model.vocab as u32;
        for (field, tokens) in [("tokens", &request.tokens), ("emitted", &request.emitted)] {
            if let Some(token) = tokens.iter().find(|&&token| token >= vocab) {
                return Err(invalid(field, format!("token id {token} is outside the vocabulary of {vocab}")));
            }
        }
        let score_top = score_top(request.score_top)?;
        let pieces = pieces(&request.tokens, request.images.len(), identity)?;
        let user_tokens = user_tokens(&request.tokens, &request.user_spans, identity)?;
        let name = Some(request.decode_name).filter(|name| !name.is_empty());
        let decode = Some(request.decode_address).filter(|address| !address.is_empty());
        Ok(Self {
            purpose: Purpose::Answer { score_top },
            parties: Parties {
                epoch: epoch.id,
                attempt: epoch.attempt,
                model_fingerprint: request.model_fingerprint,
                plan_id: request.plan_id,
            },
            request_id: request.request_id,
            pieces,
            user_tokens,
            tokens: request.tokens,
            images: request.images,
            visual,
            transfer,
            sampling: handshake::sampling(request.sampling),
            stop_token_ids: request.stop_token_ids,
            emitted: request.emitted,
            decode_dtype: DType::from_proto(request.decode_dtype),
            decode: decode.map(|address| Peer { address, name }),
            deadline,
            accepted: Instant::now(),
        })
    }
}

impl Job {
    /// Validates a request for a vector. It has one leg, which needs no epoch of its own.
    pub fn for_vector(request: v1::EmbedRequest, identity: &Identity) -> Result<Self, ServiceError> {
        let pooling = match request.pooling() {
            v1::Pooling::Last => Pooling::Last,
            v1::Pooling::Mean => Pooling::Mean,
            v1::Pooling::Unspecified => {
                return Err(invalid("pooling", format!("unknown pooling tag {}", request.pooling)));
            }
        };
        let prompt = v1::PrefillRequest {
            epoch: Some(v1::Epoch { id: "embed".to_owned(), attempt: 0 }),
            request_id: request.request_id,
            model_fingerprint: request.model_fingerprint,
            plan_id: request.plan_id,
            tokens: request.tokens,
            transfer: v1::TransferPolicy::Dense.into(),
            deadline_ms: request.deadline_ms,
            ..Default::default()
        };
        Ok(Self { purpose: Purpose::Vector(pooling), ..Self::new(prompt, identity)? })
    }

    /// "host:port" of the decode node; empty if the KV is not shipped.
    pub fn decode_address(&self) -> &str {
        self.decode.as_ref().map(|peer| peer.address.as_str()).unwrap_or_default()
    }

    /// The prompt's text tokens, without image tokens.
    pub fn text_tokens(&self) -> impl Iterator<Item = u32> + '_ {
        let of = |piece: &Piece| match piece {
            Piece::Text(range) => range.clone(),
            Piece::Image(_) => 0..0,
        };
        self.pieces.iter().flat_map(move |piece| self.tokens[of(piece)].iter().copied())
    }
}

/// Refuses a prompt that cannot fit before any work is done for it: every picture becomes at least one position, so
/// tokens and emitted tokens are a lower bound of its length.
fn check_length(request: &v1::PrefillRequest, identity: &Identity) -> Result<(), ServiceError> {
    let (positions, limit) = (request.tokens.len() + request.emitted.len(), identity.model.max_positions);
    if positions > limit {
        let text = format!("the prompt fills {positions} positions; the model's maximum context length is {limit}");
        return Err(ServiceError::new(ErrorCode::ContextLengthExceeded, text).with_param("messages"));
    }
    Ok(())
}

/// How many most likely tokens are reported with each of the prompt's tokens. The bound keeps what a scored prompt holds
/// small beside its KV.
fn score_top(asked: Option<u32>) -> Result<Option<usize>, ServiceError> {
    match asked {
        Some(top) if top > SCORE_TOP_MAX => {
            Err(invalid("score_top", format!("score_top must be at most {SCORE_TOP_MAX}, not {top}")))
        }
        asked => Ok(asked.map(|top| top as usize)),
    }
}

fn invalid(param: &str, message: String) -> ServiceError {
    ServiceError::new(ErrorCode::InvalidRequest, message).with_param(param)
}

fn image_token(identity: &Identity) -> Option<u32> {
    identity.model.vision.as_ref().map(|vision| vision.image_token_id)
}

/// Cuts the prompt at its image tokens; there must be exactly one for each picture.
fn pieces(tokens: &[u32], images: usize, identity: &Identity) -> Result<Vec<Piece>, ServiceError> {
    if tokens.is_empty() {
        return Err(invalid("tokens", "the prompt is empty".to_owned()));
    }
    let image_token = image_token(identity);
    if images > 0 && image_token.is_none() {
        return Err(invalid("images", "this model takes no pictures".to_owned()));
    }
    let mut pieces = Vec::new();
    let mut text_start = 0;
    let mut seen = 0;
    for (at, token) in tokens.iter().enumerate() {
        if Some(*token) == image_token {
            if text_start < at {
                pieces.push(Piece::Text(text_start..at));
            }
            pieces.push(Piece::Image(seen));
            seen += 1;
            text_start = at + 1;
        }
    }
    if text_start < tokens.len() {
        pieces.push(Piece::Text(text_start..tokens.len()));
    }
    if seen != images {
        return Err(invalid("images", format!("{images} pictures were sent for {seen} image tokens")));
    }
    Ok(pieces)
}

fn user_tokens(tokens: &[u32], spans: &[v1::Span], identity: &Identity) -> Result<Vec<u32>, ServiceError> {
    let image_token = image_token(identity);
    let mut words = Vec::new();
    for span in spans {
        let range = span.start as usize..span.end as usize;
        let slice = tokens
            .get(range)
            .ok_or_else(|| invalid("user_spans", format!("span {}..{} is outside the prompt", span.start, span.end)))?;
        words.extend(slice.iter().copied().filter(|&token| Some(token) != image_token));
    }
    Ok(words)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use secateur_model::{FloatType, ModelInfo, VisionInfo};
    use secateur_node::{Grammars, Precision};

    pub(crate) fn identity() -> Identity {
        Identity {
            node_id: "prefill-test".into(),
            instance_id: String::new(),
            role: v1::Role::Prefill,
            model_name: "m".into(),
            model: ModelInfo {
                layers: 2,
                hidden: 8,
                heads: 2,
                kv_heads: 1,
                head_dim: 4,
                vocab: 100,
                max_positions: 64,
                dtype: FloatType::F32,
                fingerprint: "f".into(),
                architecture: "LlavaForConditionalGeneration".into(),
                eos_token_ids: vec![2],
                vision: Some(VisionInfo {
                    image_token_id: 9,
                    tokens_per_image: 16,
                    varies: false,
                    image_size: Some(32),
                }),
            },
            kv_layers: vec![0, 1],
            shipped_layers: vec![0, 1],
            plan_id: String::new(),
            plan: None,
            tokenizer_digest: String::new(),
            recommended_visual: VisualPolicy::KEEP_ALL,
            recommended_visual_several: VisualPolicy::KEEP_ALL,
            host_id: String::new(),
            recommended_transfer: None,
            tiered: Precision { policy: TransferPolicy::Tiered, evidence: String::new() },
            kv_steps: Default::default(),
            grammars: std::sync::Arc::new(Grammars::new(std::path::Path::new(""), Some(2))),
        }
    }

    pub(crate) fn request(tokens: &[u32], images: usize) -> v1::PrefillRequest {
        v1::PrefillRequest {
            epoch: Some(v1::Epoch { id: "e".into(), attempt: 0 }),
            model_fingerprint: "f".into(),
            tokens: tokens.to_vec(),
            images: vec![Bytes::from_static(b"png"); images],
            transfer: v1::TransferPolicy::Dense as i32,
            deadline_ms: 1_000,
            user_spans: vec![v1::Span { start: 0, end: 3 }],
            ..v1::PrefillRequest::default()
        }
    }

    /// A validated job without pictures.
    pub(crate) fn text_job(tokens: Vec<u32>) -> Job {
        let mut identity = identity();
        (identity.model.vocab, identity.model.max_positions) = (1 << 30, 1 << 20);
        identity.model.vision = None;
        let request = v1::PrefillRequest { user_spans: Vec::new(), ..request(&tokens, 0) };
        Job::new(request, &identity).unwrap()
    }

    #[test]
    fn the_prompt_is_cut_at_its_image_tokens() {
        let job = Job::new(request(&[1, 9, 4, 5, 9], 2), &identity()).unwrap();
        assert_eq!(job.pieces, [Piece::Text(0..1), Piece::Image(0), Piece::Text(2..4), Piece::Image(1)]);
        assert_eq!(job.user_tokens, [1, 4]);
        assert_eq!(job.visual, VisualPolicy::KEEP_ALL);
        assert_eq!(job.decode, None);
    }

    #[test]
    fn what_does_not_fit_is_refused_by_field() {
        type Edit = fn(&mut v1::PrefillRequest);
        let cases: [(Edit, &str, ErrorCode); 12] = [
            (|r| r.transfer = v1::TransferPolicy::Pdtrim as i32, "secateur.transfer.policy", ErrorCode::InvalidRequest),
            (|r| r.model_fingerprint = "other".into(), "", ErrorCode::Incompatible),
            (|r| r.plan_id = "other".into(), "", ErrorCode::Incompatible),
            (|r| r.epoch = None, "epoch", ErrorCode::InvalidRequest),
            (|r| r.deadline_ms = 0, "deadline_ms", ErrorCode::InvalidRequest),
            (|r| r.tokens[0] = 100, "tokens", ErrorCode::InvalidRequest),
            (|r| r.emitted = vec![100], "emitted", ErrorCode::InvalidRequest),
            (|r| r.emitted = vec![1; 62], "messages", ErrorCode::ContextLengthExceeded),
            (|r| r.tokens.clear(), "tokens", ErrorCode::InvalidRequest),
            (|r| r.images.clear(), "images", ErrorCode::InvalidRequest),
            (|r| r.user_spans[0].end = 99, "user_spans", ErrorCode::InvalidRequest),
            (|r| r.score_top = Some(21), "score_top", ErrorCode::InvalidRequest),
        ];
        for (edit, param, code) in cases {
            let mut request = request(&[1, 9, 4], 1);
            edit(&mut request);
            let error = Job::new(request, &identity()).unwrap_err();
            assert_eq!((error.code, error.param.as_deref().unwrap_or("")), (code, param), "{error}");
        }
    }

    #[test]
    fn a_vector_is_of_text_and_says_how_it_is_pooled() {
        let asked = |tokens: &[u32], pooling: v1::Pooling| v1::EmbedRequest {
            request_id: "r".into(),
            model_fingerprint: "f".into(),
            tokens: tokens.to_vec(),
            pooling: pooling.into(),
            deadline_ms: 1_000,
            ..Default::default()
        };
        let job = Job::for_vector(asked(&[1, 4], v1::Pooling::Mean), &identity()).unwrap();
        assert_eq!((job.purpose, job.decode), (Purpose::Vector(Pooling::Mean), None));
        let param = |asked| Job::for_vector(asked, &identity()).unwrap_err().param;
        assert_eq!(param(asked(&[1, 9], v1::Pooling::Last)).as_deref(), Some("images"));
        assert_eq!(param(asked(&[], v1::Pooling::Last)).as_deref(), Some("tokens"));
        assert_eq!(param(asked(&[1], v1::Pooling::Unspecified)).as_deref(), Some("pooling"));
    }
}
