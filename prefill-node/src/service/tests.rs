//! Tests that every waiting request is counted against the queue's limit, whatever it waits for.

use std::sync::{Mutex, mpsc};

use bytes::Bytes;
use secateur_model::{FloatType, ModelError, Prompt, VisualTokens};
use secateur_proto::v1::prefill_server::Prefill as _;
use tokio_stream::StreamExt as _;

use super::*;
use crate::{
    compute::{Chunk, Compute},
    engine::Limits,
    job::tests::{identity, request},
    lines::Lossless,
    prune::Seen,
};

/// A PNG file of 4 x 4 pixels.
const PICTURE: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x04\0\0\0\x04\x08\x02\0\0\0\x26\x93\x09\x29\0\0\0\x10IDAT\
    \x78\xda\x63\x50\x68\xf8\x00\x47\x0c\xc4\x71\x00\x7d\x52\x19\x01\xea\x27\x6b\x9b\0\0\0\0IEND\xae\x42\x60\x82";

/// Length of the queue: more requests than may have decoded pictures at the same time.
const QUEUE: u32 = DECODED_REQUESTS as u32 + 3;

/// A model whose vision tower blocks until the other end of the channel is dropped.
struct Slow(Mutex<mpsc::Receiver<()>>);

impl Compute for Slow {
    fn see(&mut self, _: &[Picture]) -> Result<Vec<VisualTokens>, ModelError> {
        let _ = self.0.lock().unwrap().recv();
        Err(ModelError::NoVision)
    }

    fn assemble(&mut self, _: &Job, _: Vec<Seen>) -> Result<(Prompt, v1::VisualReport), ModelError> {
        Err(ModelError::NoVision)
    }

    fn run(&mut self, _: &mut [Chunk<'_>], _: &mut dyn FnMut(usize)) -> Result<(), ModelError> {
        Ok(())
    }
}

async fn ask(service: &PrefillService, name: u32) -> ReceiverStream<Result<v1::PrefillEvent, Status>> {
    let epoch = Some(v1::Epoch { id: name.to_string(), attempt: 0 });
    let images = vec![Bytes::from_static(PICTURE)];
    let asked = v1::PrefillRequest { epoch, images, deadline_ms: 60_000, ..request(&[1, 9, 4], 1) };
    service.run(Request::new(asked)).await.unwrap().into_inner()
}

#[tokio::test]
async fn requests_with_pictures_wait_in_the_bounded_queue_and_nowhere_else() {
    let pool = KvPool::of_shape(FloatType::F32, 1, 4, 2, 8).unwrap();
    let limits = Limits {
        queue: QUEUE,
        computed_as: "f32",
        step_tokens: 64,
        picture_cache: 0,
        prefix_cache: true,
        last_row_apart: false,
    };
    let (goes_on, waits) = mpsc::channel();
    let engine = Engine::start(Slow(Mutex::new(waits)), pool.clone(), limits).unwrap();
    let (lines, patience) = (Lines::new(Lossless::Off, 1.0), Duration::from_secs(30));
    let prefiller = Prefiller::new(Arc::new(identity()), engine, pool, Peers::default(), patience, lines);
    let service = PrefillService(Arc::new(prefiller));
    let waiting = || service.0.describe(false).load.unwrap().waiting;
    let mut asked = Vec::new();
    for name in 0..QUEUE {
        asked.push(ask(&service, name).await);
    }
    let counted = async {
        while waiting() < QUEUE {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), counted).await.expect("some wait uncounted");
    let refused = ask(&service, QUEUE).await.next().await.unwrap().unwrap_err();
    assert_eq!(ServiceError::from(refused).code, ErrorCode::Overloaded);
    // A request that is dropped gives its permit back, whatever it waits for.
    asked.truncate(1);
    let left = async {
        while waiting() > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    drop(goes_on);
    tokio::time::timeout(Duration::from_secs(20), left).await.expect("permits are kept");
}

#[test]
fn scores_are_cut_into_messages_that_go_on_where_the_last_one_ended() {
    let sizes = |count: usize| -> Vec<(u32, usize)> {
        let scores = vec![v1::PromptScore::default(); count];
        score_events(scores).map(|event| (event.start, event.scores.len())).collect()
    };
    assert_eq!(sizes(0), []);
    assert_eq!(sizes(SCORES_PER_EVENT), [(0, SCORES_PER_EVENT)]);
    assert_eq!(sizes(SCORES_PER_EVENT + 1), [(0, SCORES_PER_EVENT), (SCORES_PER_EVENT as u32, 1)]);
}
