//! An answer that is not streamed: runs all choices to their end.

use std::sync::OnceLock;

use secateur_common::shutdown::CancellationToken;
use secateur_proto::{ErrorCode, ServiceError};

use crate::{
    answer::{Choices, Event, Total},
    app::App,
    reply::Content,
};

/// Gathers the contents of all choices in order, each beginning with its entry of `echoes`. Returns an error once
/// `overdue` is cancelled, and sets `failure` to it.
pub async fn gather(
    choices: Choices,
    total: Total,
    echoes: Vec<Option<String>>,
    (overdue, failure): (&CancellationToken, &OnceLock<ErrorCode>),
) -> Result<(Vec<Content>, Total), ServiceError> {
    let gathered = all(choices, total, echoes);
    tokio::pin!(gathered);
    tokio::select! {
        // The choices are dropped after the branch has run, when the failure is known.
        biased;
        () = overdue.cancelled() => {
            let _ = failure.set(App::cut().code);
            Err(App::cut())
        }
        gathered = &mut gathered => gathered,
    }
}

async fn all(
    mut choices: Choices,
    mut total: Total,
    echoes: Vec<Option<String>>,
) -> Result<(Vec<Content>, Total), ServiceError> {
    let mut contents: Vec<Content> = echoes.into_iter().map(Content::begin).collect();
    while let Some((index, event)) = choices.next().await {
        match event? {
            Event::Begun(usage, scores) => {
                total.used(index, usage);
                if let Some(content) = contents.get_mut(index) {
                    content.prompt = scores;
                }
            }
            Event::Piece(piece, usage) => {
                total.used(index, usage);
                if let Some(content) = contents.get_mut(index) {
                    content.add(piece);
                }
            }
            Event::Ended(usage, receipt) => total.ended(index, usage, *receipt),
        }
    }
    Ok((contents, total))
}
