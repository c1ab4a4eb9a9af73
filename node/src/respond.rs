//! The frame around every request: a stream of events that ends when the work ends, the deadline passes, or the caller
//! drops the stream.

use std::{future::Future, time::Duration};

use secateur_proto::{ErrorCode, ServiceError};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

use crate::Life;

/// Sending end of a request's event stream.
#[derive(Debug)]
pub struct Responses<T>(mpsc::Sender<Result<T, Status>>);

impl<T> Clone for Responses<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Responses<T> {
    /// Sends an event; waits while the router is slow (backpressure). Fails if the router has dropped the stream.
    pub async fn send(&self, event: T) -> Result<(), ServiceError> {
        let gone = |_| ServiceError::new(ErrorCode::Cancelled, "the router went away");
        self.0.send(Ok(event)).await.map_err(gone)
    }
}

/// Terms on which a request runs: its names in the log, its deadline, and the engine that it depends on.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Name of the work, for example `decode`; used in logs and error messages.
    pub stage: &'static str,
    /// The request's id.
    pub request_id: String,
    /// Longest time that the work may take, from the call of [`respond`].
    pub deadline: Duration,
    /// Life of the engine that does the work: the request fails when the engine ends.
    pub life: Life,
}

/// Runs `work` and streams the events that it sends; `room` is the number of events that may be buffered. The future of
/// `work`, with all that it holds, is dropped when the stream is dropped (which is how a router cancels a request),
/// when the deadline passes, or when the engine ends.
pub fn respond<T, F>(
    terms: Terms,
    room: usize,
    work: impl FnOnce(Responses<T>) -> F,
) -> Response<ReceiverStream<Result<T, Status>>>
where
    T: Send + 'static,
    F: Future<Output = Result<(), ServiceError>> + Send + 'static,
{
    let (responses, stream) = mpsc::channel(room);
    let work = work(Responses(responses.clone()));
    tokio::spawn(async move {
        let failed = tokio::select! {
            () = responses.closed() => {
                tracing::info!(request = %terms.request_id, stage = terms.stage, "cancelled by the router");
                return;
            }
            outcome = terms.keep(work) => match outcome {
                Ok(()) => return,
                Err(error) => error,
            },
        };
        let _ = responses.send(Err(failed.into())).await;
    });
    Response::new(ReceiverStream::new(stream))
}

impl Terms {
    /// The result of `work`, or an error once the deadline passes or the engine ends; a failure is logged. For calls that
    /// are answered at once, as a whole; the work of one whose caller goes away is dropped with this future.
    pub async fn keep<T>(&self, work: impl Future<Output = Result<T, ServiceError>>) -> Result<T, ServiceError> {
        let Self { stage, request_id, deadline, life } = self;
        let outcome = tokio::select! {
            () = life.ended() => {
                Err(ServiceError::new(ErrorCode::Unavailable, format!("the {stage} engine has stopped")))
            }
            outcome = tokio::time::timeout(*deadline, work) => outcome.unwrap_or_else(|_| {
                let text = format!("the request's deadline passed during {stage}");
                Err(ServiceError::new(ErrorCode::Timeout, text))
            }),
        };
        outcome.inspect_err(|failed| {
            tracing::info!(request = %request_id, stage, code = failed.code.as_str(), error = %failed, "failed");
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secateur_common::shutdown::CancellationToken;
    use tokio_stream::StreamExt as _;

    use crate::Leash;

    fn terms(deadline: Duration) -> Terms {
        Terms { stage: "test", request_id: "r".into(), deadline, life: Life::default() }
    }

    #[tokio::test]
    async fn events_then_the_error_reach_the_stream() {
        let mut stream = respond(terms(Duration::from_secs(5)), 4, |responses| async move {
            responses.send(7).await?;
            Err(ServiceError::new(ErrorCode::Overloaded, "full"))
        })
        .into_inner();
        assert_eq!(stream.next().await.unwrap().unwrap(), 7);
        let status = stream.next().await.unwrap().unwrap_err();
        assert_eq!(ServiceError::from(status).code, ErrorCode::Overloaded);
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn the_deadline_ends_it() {
        let mut stream = respond::<u32, _>(terms(Duration::from_millis(5)), 4, |_| std::future::pending()).into_inner();
        assert_eq!(ServiceError::from(stream.next().await.unwrap().unwrap_err()).code, ErrorCode::Timeout);
    }

    #[tokio::test]
    async fn the_engines_end_fails_what_waits_for_it() {
        let (goes_on, waits) = std::sync::mpsc::channel::<()>();
        let life = Life::begin("test", move || {
            let _ = waits.recv();
        })
        .unwrap();
        let terms = Terms { life, ..terms(Duration::from_secs(60)) };
        let mut stream = respond::<u32, _>(terms, 4, |_| std::future::pending()).into_inner();
        drop(goes_on);
        let error = ServiceError::from(stream.next().await.unwrap().unwrap_err());
        assert_eq!((error.code, error.message.as_str()), (ErrorCode::Unavailable, "the test engine has stopped"));
    }

    #[tokio::test]
    async fn dropping_the_stream_drops_the_work() {
        let token = CancellationToken::new();
        let leash = Leash::new(token.clone());
        let stream = respond::<u32, _>(terms(Duration::from_secs(5)), 4, |_| async move {
            let _held = leash;
            std::future::pending().await
        });
        drop(stream);
        token.cancelled().await;
    }
}
