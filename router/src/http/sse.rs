//! A streamed answer as server-sent events: role, text, one finish reason, usage if asked for, `[DONE]`.
//!
//! The body is pulled by the connection, so a slow reader slows the answer, and a reader that leaves drops it, which
//! cancels both legs.

use std::{collections::VecDeque, convert::Infallible, sync::Arc};

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};
use bytes::Bytes;

use crate::{
    admission::Turn,
    answer::{Answer, Piece},
    metrics::Metrics,
    openai::{
        StreamOptions,
        logprobs::Logprobs,
        response::{FinishReason, Head},
        stream::{self, ChunkWriter},
    },
};

/// What is next in line.
enum Phase {
    Role,
    Text,
    /// The finish reason is out; usage and the end follow.
    Tail(FinishReason),
    End,
}

struct Events {
    answer: Answer,
    chunks: ChunkWriter,
    includes_usage: bool,
    phase: Phase,
    ready: VecDeque<Bytes>,
    metrics: Arc<Metrics>,
    /// Held until the stream ends or is dropped.
    _turn: Turn,
}

/// Starts the stream; the first token is already there.
pub fn response(answer: Answer, head: Head, options: StreamOptions, turn: Turn, metrics: Arc<Metrics>) -> Response {
    let events = Events {
        answer,
        chunks: ChunkWriter::new(head, options.include_usage, options.continuous_usage),
        includes_usage: options.include_usage,
        phase: Phase::Role,
        ready: VecDeque::new(),
        metrics,
        _turn: turn,
    };
    let events = futures::stream::unfold(events, |mut events| async move {
        let event = events.next().await?;
        Some((Ok::<_, Infallible>(event), events))
    });
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Asks proxies such as nginx not to gather the events.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

impl Events {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            match self.phase {
                Phase::Role => {
                    self.phase = Phase::Text;
                    self.ready.push_back(self.chunks.role(self.answer.usage()));
                }
                Phase::Text => self.text().await,
                Phase::Tail(finish) => {
                    self.phase = Phase::End;
                    let receipt = self.answer.receipt(finish).await;
                    if self.includes_usage {
                        self.ready.push_back(self.chunks.usage(self.answer.usage(), &receipt));
                    }
                    self.ready.push_back(stream::DONE);
                }
                Phase::End => return None,
            }
        }
    }

    async fn text(&mut self) {
        let Piece { text, logprobs, finish } = match self.answer.next().await {
            Ok(piece) => piece.unwrap_or_default(),
            Err(failure) => {
                tracing::warn!(code = failure.code.as_str(), error = %failure, "an answer broke off in its stream");
                self.metrics.error(failure.code.as_str());
                self.ready.push_back(stream::error(&failure));
                self.phase = Phase::End;
                return;
            }
        };
        let logprobs = logprobs.map(Logprobs::from);
        // Tokens without text, special ones, may be the last to come out.
        if !text.is_empty() || logprobs.as_ref().is_some_and(|logprobs| !logprobs.content.is_empty()) {
            self.ready.push_back(self.chunks.text(&text, logprobs.as_ref(), self.answer.usage()));
        }
        if let Some(finish) = finish {
            self.ready.push_back(self.chunks.finish(finish, self.answer.usage()));
            self.phase = Phase::Tail(finish);
        }
    }
}
