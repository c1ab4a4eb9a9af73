//! A streamed answer as server-sent events, in the format of its API.
//!
//! One task writes a stream, a few events ahead of its reader. A slow reader slows the answer (backpressure); a reader
//! that disconnects ends it, which cancels both legs of every choice; and a reader that takes nothing for
//! [`READER_PATIENCE`] is cut off, so that it cannot hold its permits at the nodes.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use secateur_common::shutdown::CancellationToken;
use secateur_proto::{ErrorCode, ServiceError};
use tokio::{sync::mpsc, time::timeout};

use crate::{
    answer::{Choices, Event, Total},
    app::App,
    metrics::Metrics,
    reply::Format,
};

/// Most events that wait for their reader; the connection's and the system's buffers hold more.
const EVENTS_AHEAD: usize = 16;
/// Time after which a reader that takes nothing counts as gone.
const READER_PATIENCE: Duration = Duration::from_secs(30);

/// A stream before it begins.
pub struct Begin {
    /// The choices, none of which has been read.
    pub choices: Choices,
    /// The sum over the choices.
    pub total: Total,
    /// The format of the events.
    pub format: Box<dyn Format>,
    /// For each choice, the prompt that is returned before its answer.
    pub echoes: Vec<Option<String>>,
    /// Code of the request's first error, once it has failed.
    pub failure: Arc<OnceLock<ErrorCode>>,
}

struct Events {
    begin: Begin,
    ready: VecDeque<Bytes>,
    is_over: bool,
    metrics: Arc<Metrics>,
}

/// Starts the stream when the first choice has begun; a failure before that is returned as an error.
pub async fn response(mut begin: Begin, app: &App) -> Result<Response, ServiceError> {
    let first = begin.choices.next().await;
    let mut events = Events { begin, ready: VecDeque::new(), is_over: false, metrics: app.metrics.clone() };
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
            let event = match self.ready.pop_front() {
                Some(event) => Some(event),
                None => tokio::select! {
                    event = self.next() => event,
                    () = reader.closed() => return,
                    () = overdue.cancelled(), if !self.is_over => {
                        self.break_off(&App::cut());
                        continue;
                    }
                },
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
            match self.begin.choices.next().await {
                Some((index, Ok(event))) => self.on(index, event),
                Some((_, Err(failure))) => self.break_off(&failure),
                None => self.end(),
            }
        }
    }

    fn on(&mut self, index: usize, event: Event) {
        let Begin { total, format, echoes, .. } = &mut self.begin;
        match event {
            // Requests that ask for scores of their prompts are not streamed.
            Event::Begun(usage, _) => {
                total.used(index, usage);
                let echo = echoes.get_mut(index).and_then(Option::take);
                self.ready.extend(format.begun(index, echo, total.usage()));
            }
            Event::Piece(piece, usage) => {
                total.used(index, usage);
                self.ready.extend(format.piece(index, piece, total.usage()));
            }
            Event::Ended(usage, receipt) => total.ended(index, usage, *receipt),
        }
    }

    fn break_off(&mut self, failure: &ServiceError) {
        tracing::warn!(code = failure.code.as_str(), error = %failure, "an answer broke off in its stream");
        self.metrics.error(failure.code);
        self.ready.extend(self.begin.format.failed(failure));
        self.is_over = true;
        // Without it, choices that are dropped here would count as left by their client.
        let _ = self.begin.failure.set(failure.code);
        // Drops the other choices now, rather than when the reader takes the error.
        self.begin.choices = Choices::new([]);
    }

    fn end(&mut self) {
        let Begin { total, format, .. } = &mut self.begin;
        self.ready.extend(format.end(total.usage(), total.receipt()));
        self.is_over = true;
    }
}
