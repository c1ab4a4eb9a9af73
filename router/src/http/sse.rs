//! A streamed answer as server-sent events: role, text, one finish reason for each choice, usage if requested,
//! `[DONE]`.
//!
//! One task writes a stream, a few events ahead of its reader. A slow reader slows the answer (backpressure); a reader
//! that disconnects ends it, which cancels both legs of every choice; and a reader that takes nothing for
//! [`READER_PATIENCE`] is cut off, so that it cannot hold its permits at the nodes.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use secateur_common::shutdown::CancellationToken;
use secateur_proto::ServiceError;
use tokio::{sync::mpsc, time::timeout};

use crate::{
    answer::{Choices, Event, Piece, Total},
    app::App,
    metrics::Metrics,
    openai::{
        StreamOptions,
        response::{Head, Shape, Usage},
        stream::{self, ChunkWriter},
    },
};

/// Most events that wait for their reader; the connection's and the system's buffers hold more.
const EVENTS_AHEAD: usize = 16;
/// Time after which a reader that takes nothing counts as gone.
const READER_PATIENCE: Duration = Duration::from_secs(30);

/// How a stream is written.
pub struct Writing {
    /// The fields that every chunk starts with.
    pub head: Head,
    /// The API whose format the chunks have.
    pub shape: Shape,
    /// What the stream contains besides the text.
    pub options: StreamOptions,
    /// For each choice, the prompt that is returned before its answer.
    pub echoes: Vec<Option<String>>,
}

struct Events {
    choices: Choices,
    chunks: ChunkWriter,
    total: Total,
    echoes: Vec<Option<String>>,
    /// For each choice, the number of characters of the tokens whose log probabilities were sent.
    offsets: Vec<usize>,
    includes_usage: bool,
    ready: VecDeque<Bytes>,
    is_over: bool,
    metrics: Arc<Metrics>,
}

/// Starts the stream when the first choice has begun; a failure before that is returned as an error.
pub async fn response(
    mut choices: Choices,
    total: Total,
    writing: Writing,
    app: &App,
) -> Result<Response, ServiceError> {
    let Writing { head, shape, options, echoes } = writing;
    let first = choices.next().await;
    let mut events = Events {
        choices,
        chunks: ChunkWriter::new(head, shape, options),
        total,
        offsets: vec![0; echoes.len()],
        echoes,
        includes_usage: options.include_usage,
        ready: VecDeque::new(),
        is_over: false,
        metrics: app.metrics.clone(),
    };
    if let Some((index, event)) = first {
        events.on(index, event?);
    }
    let (sender, receiver) = mpsc::channel(EVENTS_AHEAD);
    tokio::spawn(events.write(sender, app.overdue.clone()));
    let written = futures::stream::unfold(receiver, |mut receiver| async move {
        let event = receiver.recv().await?;
        Some((Ok::<_, Infallible>(event), receiver))
    });
    let mut response = Response::new(Body::from_stream(written));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Tells proxies such as nginx not to buffer the events.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

impl Events {
    async fn write(mut self, reader: mpsc::Sender<Bytes>, overdue: CancellationToken) {
        loop {
            let event = tokio::select! {
                event = self.next() => event,
                () = reader.closed() => return,
                () = overdue.cancelled(), if !self.is_over => {
                    self.break_off(&App::cut());
                    continue;
                }
            };
            let Some(event) = event else { return };
            match timeout(READER_PATIENCE, reader.send(event)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => {
                    tracing::info!(
                        seconds = READER_PATIENCE.as_secs(),
                        "a stream's reader takes nothing and is given up"
                    );
                    return;
                }
            }
        }
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.is_over {
                return None;
            }
            match self.choices.next().await {
                Some((index, Ok(event))) => self.on(index, event),
                Some((_, Err(failure))) => self.break_off(&failure),
                None => self.end(),
            }
        }
    }

    fn on(&mut self, index: usize, event: Event) {
        match event {
            Event::Begun(usage) => {
                self.total.used(index, usage);
                let echo = self.echoes.get_mut(index).and_then(Option::take);
                self.ready.extend(self.chunks.opening(index, echo.as_deref(), self.total.usage()));
            }
            Event::Piece(piece, usage) => {
                self.total.used(index, usage);
                self.piece(index, piece, self.total.usage());
            }
            Event::Ended(usage, receipt) => self.total.ended(index, usage, *receipt),
        }
    }

    fn piece(&mut self, index: usize, piece: Piece, usage: Usage) {
        let Piece { text, calls, logprobs, finish } = piece;
        // Special tokens have entries but no text, so a piece may hold entries alone.
        if !text.is_empty() || logprobs.as_ref().is_some_and(|entries| !entries.is_empty()) {
            let mut nowhere = 0;
            let offset = self.offsets.get_mut(index).unwrap_or(&mut nowhere);
            self.ready.push_back(self.chunks.text(index, &text, offset, logprobs, usage));
        }
        self.ready.extend(calls.iter().map(|part| self.chunks.call(index, part, usage)));
        if let Some(finish) = finish {
            self.ready.push_back(self.chunks.finish(index, finish, usage));
        }
    }

    fn break_off(&mut self, failure: &ServiceError) {
        tracing::warn!(code = failure.code.as_str(), error = %failure, "an answer broke off in its stream");
        self.metrics.error(failure.code);
        self.ready.push_back(stream::error(failure));
        self.is_over = true;
        // Drops the other choices now, rather than when the reader takes the error.
        self.choices = Choices::new([]);
    }

    fn end(&mut self) {
        if self.includes_usage {
            let usage = self.total.usage();
            self.ready.push_back(self.chunks.usage(usage, &self.total.receipt()));
        }
        self.ready.push_back(stream::DONE);
        self.is_over = true;
    }
}
