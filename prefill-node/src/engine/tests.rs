//! Load tests with a simulated model: thousands of prompts in seconds, on the real engine, pool, scheduler and prefix
//! cache.

use std::{sync::atomic::AtomicUsize, time::Duration};

use super::*;
use crate::{
    job::{Job, Piece, Pooling, Purpose, tests::text_job},
    progress::{Follower, progress},
    prune::Seen,
    reading::Reading,
};
use secateur_model::{FloatType, Picture, Prompt};
use tokio::sync::oneshot;

/// Length of prompts for which the simulated model's logits are not numbers.
const OVERFLOWS: u32 = 777;

/// A simulated model that counts the rows that it computes; its first token is the prompt's length.
#[derive(Clone, Default)]
struct Simulated {
    rows: Arc<AtomicUsize>,
    largest_step: Arc<AtomicUsize>,
}

impl Compute for Simulated {
    fn see(&mut self, _: &[Picture]) -> Result<Vec<VisualTokens>, ModelError> {
        Err(ModelError::NoVision)
    }

    fn assemble(&mut self, job: &Job, _: Vec<Seen>) -> Result<(Prompt, v1::VisualReport), ModelError> {
        Ok((Prompt::of_text(&job.tokens)?, v1::VisualReport::default()))
    }

    fn run(&mut self, chunks: &mut [Chunk<'_>], on_layer: &mut dyn FnMut(usize)) -> Result<(), ModelError> {
        let rows = chunks.iter().map(|chunk| chunk.rows.len()).sum();
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.largest_step.fetch_max(rows, Ordering::Relaxed);
        for layer in 0..2 {
            on_layer(layer);
        }
        for chunk in chunks {
            assert_eq!(chunk.rows.start, chunk.table.len());
            assert!(chunk.rows.end <= chunk.table.capacity());
            chunk.table.set_len(chunk.rows.end)?;
            read(chunk);
            let token = chunk.prompt.len() as u32;
            chunk.ended = match (chunk.is_last(), chunk.draws()) {
                (false, _) => None,
                (true, false) => Some(Ok(None)),
                (true, true) if token == OVERFLOWS => Some(chunk.sampler.draw(&mut [f32::NAN; 4]).map(Some)),
                (true, true) => Some(Ok(Some(Drawn { token, logprob: None }))),
            };
        }
        Ok(())
    }
}

/// The state of a row is its number; the rank of a token is the token itself.
fn read(chunk: &mut Chunk<'_>) {
    match chunk.reading.as_deref_mut() {
        Some(Reading::Vector(pooled)) => chunk.rows.clone().for_each(|row| pooled.add(&[row as f32])),
        Some(Reading::Scores(scores)) => {
            let behind = scores.behind(chunk.prompt, chunk.rows.clone());
            scores.add(behind.into_iter().map(|(_, rank)| v1::PromptScore { logprob: None, rank }));
        }
        None => {}
    }
}

const LIMITS: Limits = Limits {
    queue: 5_000,
    computed_as: "f32",
    step_tokens: 64,
    picture_cache: 0,
    prefix_cache: true,
    last_row_apart: false,
};

fn pool(blocks: usize) -> KvPool {
    KvPool::of_shape(FloatType::F32, 1, 2, 2, blocks).unwrap()
}

struct Client {
    result: oneshot::Receiver<Result<Prefilled, ServiceError>>,
    progress: Follower,
    leash: Leash,
}

fn submit(engine: &Engine, tokens: Vec<u32>) -> Result<Client, ServiceError> {
    submit_for(engine, tokens, Purpose::Answer { score_top: None })
}

fn submit_for(engine: &Engine, tokens: Vec<u32>, purpose: Purpose) -> Result<Client, ServiceError> {
    let (reporter, progress) = progress();
    let (result, answer) = oneshot::channel();
    let (cancelled, leash) = engine.leash();
    let job = Arc::new(Job { purpose, ..text_job(tokens) });
    let permit = engine.take_permit()?;
    let work = Work {
        job,
        pictures: Vec::new(),
        decoding: None,
        constraint: None,
        progress: Some(reporter),
        result,
        cancelled,
    };
    engine.submit(work, permit)?;
    Ok(Client { result: answer, progress, leash })
}

async fn finish(client: Client) -> v1::FirstToken {
    let prefilled = client.result.await.unwrap().unwrap();
    let Client { mut progress, leash: _leash, .. } = client;
    let last = progress.wait_for(|progress| progress.closed.is_some()).await.unwrap().clone();
    let positions = prefilled.first_token.prompt_positions;
    assert_eq!((last.positions, last.blocks), (positions, 0));
    assert_eq!(last.laid.unwrap().keys.len(), positions as usize / BLOCK_POSITIONS);
    prefilled.first_token
}

#[tokio::test]
async fn thousands_of_prompts_share_a_small_pool_and_give_it_all_back() {
    let (simulated, pool) = (Simulated::default(), pool(40));
    let engine = Engine::start(simulated.clone(), pool.clone(), LIMITS).unwrap();
    let mut clients = Vec::new();
    for number in 0..3_000u32 {
        let len = 1 + number * 37 % 600;
        clients.push((len, submit(&engine, (number..number + len).collect()).unwrap()));
    }
    for (len, client) in clients {
        assert_eq!(finish(client).await.token, len);
    }
    assert!(simulated.largest_step.load(Ordering::Relaxed) <= LIMITS.step_tokens);
    settles(|| pool.free_blocks() + engine.reclaimable() == 40).await;
    assert_eq!(engine.queue().taken(), 0);
}

/// Waits until `condition` holds: the engine thread releases blocks and permits a moment after it has sent an answer.
async fn settles(condition: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it does not settle");
}

#[tokio::test]
async fn a_prompt_that_begins_like_another_computes_only_its_own_rows() {
    let (simulated, pool) = (Simulated::default(), pool(40));
    let engine = Engine::start(simulated.clone(), pool.clone(), LIMITS).unwrap();
    let first = finish(submit(&engine, (0..100).collect()).unwrap()).await;
    assert_eq!(first.cached_positions, 0);
    // The same prompt again: all is cached but the rows after the last full block, and always at least the last row.
    let again = finish(submit(&engine, (0..100).collect()).unwrap()).await;
    assert_eq!((again.cached_positions, again.prompt_positions), (96, 100));
    let whole = finish(submit(&engine, (0..96).collect()).unwrap()).await;
    assert_eq!(whole.cached_positions, 80);
    let longer = finish(submit(&engine, (0..200).collect()).unwrap()).await;
    assert_eq!(longer.cached_positions, 96);
    assert_eq!(simulated.rows.load(Ordering::Relaxed), 100 + 4 + 16 + 104);
    let gauges = engine.gauges();
    assert_eq!(gauges.prefix_queries.load(Ordering::Relaxed), 496);
    assert_eq!(gauges.prefix_hits.load(Ordering::Relaxed), 96 + 80 + 96);
}

#[tokio::test]
async fn a_prompt_that_is_read_whole_is_computed_whole_and_still_remembered() {
    let (simulated, pool) = (Simulated::default(), pool(100));
    let engine = Engine::start(simulated.clone(), pool.clone(), LIMITS).unwrap();
    let tokens = || (7..107).collect::<Vec<u32>>();
    finish(submit(&engine, tokens()).unwrap()).await;
    let scored = submit_for(&engine, tokens(), Purpose::Answer { score_top: Some(1) }).unwrap();
    let prefilled = scored.result.await.unwrap().unwrap();
    assert_eq!((prefilled.first_token.token, prefilled.first_token.cached_positions), (100, 0));
    let Some(Reading::Scores(scores)) = prefilled.reading else { panic!("it is not scored") };
    let ranks: Vec<u32> = scores.of_tokens(&[Piece::Text(0..100)]).iter().map(|score| score.rank).collect();
    assert_eq!((ranks[0], &ranks[1..]), (0, &tokens()[1..]));
    let vector = async |pooling| {
        let client = submit_for(&engine, tokens(), Purpose::Vector(pooling)).unwrap();
        let prefilled = client.result.await.unwrap().unwrap();
        let Some(Reading::Vector(pooled)) = prefilled.reading else { panic!("there is no vector") };
        (pooled.vector().unwrap(), prefilled.first_token.cached_positions)
    };
    assert_eq!(vector(Pooling::Mean).await, (vec![49.5], 0));
    // The last row alone is read, so that the rows before it may come from the cache.
    assert_eq!(vector(Pooling::Last).await, (vec![99.0], 96));
    assert_eq!(simulated.rows.load(Ordering::Relaxed), 3 * 100 + 4);
    assert_eq!(engine.gauges().prefix_queries.load(Ordering::Relaxed), 200, "no others are looked up");
}

#[tokio::test]
async fn under_a_relaxed_plan_what_is_read_whole_is_not_remembered() {
    let pool = pool(100);
    let limits = Limits { last_row_apart: true, ..LIMITS };
    let engine = Engine::start(Simulated::default(), pool.clone(), limits).unwrap();
    let tokens = || (0..100).collect::<Vec<u32>>();
    let scored = submit_for(&engine, tokens(), Purpose::Answer { score_top: Some(1) }).unwrap();
    scored.result.await.unwrap().unwrap();
    assert_eq!(finish(submit(&engine, tokens()).unwrap()).await.cached_positions, 0);
}

#[tokio::test]
async fn the_cache_makes_room_for_prompts() {
    let (simulated, pool) = (Simulated::default(), pool(10));
    let engine = Engine::start(simulated, pool.clone(), LIMITS).unwrap();
    for start in 0..20 {
        let first = finish(submit(&engine, (start * 1_000..start * 1_000 + 150).collect()).unwrap()).await;
        assert_eq!(first.cached_positions, 0);
    }
}

#[tokio::test]
async fn logits_that_are_no_numbers_end_their_prompt_and_no_other() {
    let pool = pool(100);
    let engine = Engine::start(Simulated::default(), pool.clone(), LIMITS).unwrap();
    let broken = submit(&engine, (0..OVERFLOWS).collect()).unwrap();
    let sound = submit(&engine, (5_000..5_700).collect()).unwrap();
    let error = broken.result.await.unwrap().err().unwrap();
    assert_eq!(error.code, ErrorCode::Internal);
    assert!(error.message.contains("logits"), "{error}");
    assert_eq!(finish(sound).await.token, 700);
    // The KV of the broken prompt is not cached for prompts that begin alike.
    let alike = finish(submit(&engine, (0..100).collect()).unwrap()).await;
    assert_eq!(alike.cached_positions, 0);
    drop(broken.progress);
    settles(|| pool.free_blocks() + engine.reclaimable() == 100).await;
}

#[tokio::test]
async fn what_can_never_fit_is_refused_and_a_full_queue_says_so() {
    let pool = pool(10);
    let engine = Engine::start(Simulated::default(), pool.clone(), Limits { queue: 1, ..LIMITS }).unwrap();
    let error = submit(&engine, (0..161).collect()).unwrap().result.await.unwrap().err().unwrap();
    assert_eq!(error.code, ErrorCode::ContextLengthExceeded);
    // All blocks are leased, as by a shipment that makes no progress.
    let held = pool.lease(10).unwrap();
    settles(|| engine.queue().taken() == 0).await;
    let waiting = submit(&engine, vec![1]).unwrap();
    assert_eq!(submit(&engine, vec![1]).err().unwrap().code, ErrorCode::Overloaded);
    drop(held);
    assert_eq!(finish(waiting).await.token, 1);
}

#[tokio::test]
async fn a_cancelled_job_gives_its_permit_back_at_once() {
    let pool = pool(1);
    let engine = Engine::start(Simulated::default(), pool.clone(), Limits { queue: 1, ..LIMITS }).unwrap();
    let held = pool.lease(1).unwrap();
    let client = submit(&engine, vec![1]).unwrap();
    // The shortage flag, which stalled shipments read, is set as long as a prompt waits for blocks.
    settles(|| engine.shortage().is_there()).await;
    drop(client.leash);
    settles(|| engine.queue().taken() == 0 && !engine.shortage().is_there()).await;
    drop(held);
    assert_eq!(finish(submit(&engine, vec![2]).unwrap()).await.token, 1);
}

/// Nothing polls, so a lost wake-up would hang this test.
#[tokio::test]
async fn a_prompt_that_waits_goes_on_with_the_block_that_becomes_free() {
    let pool = pool(1);
    let engine = Engine::start(Simulated::default(), pool.clone(), Limits { prefix_cache: false, ..LIMITS }).unwrap();
    for round in 0..300 {
        let held = pool.lease(1).unwrap();
        let client = submit(&engine, vec![1, 2]).unwrap();
        if round % 3 > 0 {
            tokio::task::yield_now().await;
        }
        let freed = std::thread::spawn(move || drop(held));
        assert_eq!(finish(client).await.token, 2);
        freed.join().unwrap();
        settles(|| pool.free_blocks() == 1).await;
    }
}

#[tokio::test]
async fn a_panic_between_steps_ends_the_engine_and_every_prompt_with_it() {
    let pool = pool(2);
    // A panic outside the contained computation: in the pool's hook, when a finished prompt releases its last block.
    let has_panicked = std::sync::atomic::AtomicBool::new(false);
    pool.on_release(move || assert!(has_panicked.swap(true, Ordering::Relaxed), "a defect"));
    let engine = Engine::start(Simulated::default(), pool, Limits { prefix_cache: false, ..LIMITS }).unwrap();
    let (mut first, waiting) =
        (submit(&engine, (0..32).collect()).unwrap(), submit(&engine, (0..32).collect()).unwrap());
    first.progress = progress().1;
    let ended = async {
        // The second prompt waits for blocks of the first.
        assert!(waiting.result.await.is_err());
        engine.life().ended().await;
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("the engine's end does not show");
    assert_eq!(submit(&engine, vec![1]).err().unwrap().code, ErrorCode::Unavailable);
}
