//! One request, streamed.

use std::time::Instant;

use futures::StreamExt;

use super::{deltas::Piece, failure::Failure, reading::Reading};
use crate::client::{connection::Client, refusal::Refusal, sse::Events};

/// Sends a body and reads the answer to its end, into `reading`: what has arrived is there also if this future is
/// dropped, which ends the request.
pub async fn ask(
    client: &Client,
    body: Vec<u8>,
    reading: &mut Reading,
    on_piece: &mut impl FnMut(&Piece),
) -> Result<(), Failure> {
    let response = client.chat(body).await.map_err(|error| Failure::Unreachable(whole(error)))?;
    let status = response.status();
    if !status.is_success() {
        let text = response.text().await.unwrap_or_default();
        return Err(Failure::Refused(Refusal::of_answer(status, &text)));
    }
    let mut events = Events::default();
    let mut bytes = response.bytes_stream();
    while let Some(piece) = bytes.next().await {
        let piece = piece.map_err(|error| Failure::Broken(whole(error)))?;
        let now = Instant::now();
        events.push(&piece, |data| {
            reading.take(data, now)?.iter().for_each(&mut *on_piece);
            Ok(())
        })?;
        if reading.is_complete {
            break;
        }
    }
    reading.end()
}

/// An error with all that caused it.
fn whole(error: reqwest::Error) -> String {
    format!("{:#}", anyhow::Error::from(error))
}
