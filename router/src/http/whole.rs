//! An answer that is not streamed: runs all choices to their end.

use secateur_common::shutdown::CancellationToken;
use secateur_proto::ServiceError;

use crate::{
    answer::{Choices, Event, Total},
    app::App,
    openai::response::Content,
    request::FinishReason,
};

/// Gathers the contents of all choices in order, each beginning with its entry of `echoes`. Returns an error once
/// `overdue` is cancelled.
pub async fn gather(
    choices: Choices,
    total: Total,
    echoes: Vec<Option<String>>,
    overdue: &CancellationToken,
) -> Result<(Vec<Content>, Total), ServiceError> {
    tokio::select! {
        gathered = all(choices, total, echoes) => gathered,
        () = overdue.cancelled() => Err(App::cut()),
    }
}

async fn all(
    mut choices: Choices,
    mut total: Total,
    echoes: Vec<Option<String>>,
) -> Result<(Vec<Content>, Total), ServiceError> {
    let empty = |echo: Option<String>| Content {
        text: echo.unwrap_or_default(),
        calls: Vec::new(),
        logprobs: None,
        finish_reason: FinishReason::Stop,
    };
    let mut contents: Vec<Content> = echoes.into_iter().map(empty).collect();
    while let Some((index, event)) = choices.next().await {
        match event? {
            Event::Begun(usage) => total.used(index, usage),
            Event::Piece(piece, usage) => {
                total.used(index, usage);
                let Some(content) = contents.get_mut(index) else { continue };
                content.text.push_str(&piece.text);
                piece.calls.into_iter().for_each(|part| content.call(part));
                if let Some(entries) = piece.logprobs {
                    content.logprobs.get_or_insert_with(Vec::new).extend(entries);
                }
                content.finish_reason = piece.finish.unwrap_or(content.finish_reason);
            }
            Event::Ended(usage, receipt) => total.ended(index, usage, *receipt),
        }
    }
    Ok((contents, total))
}
