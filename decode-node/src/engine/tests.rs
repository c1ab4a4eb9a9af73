//! Load tests with a simulated model: thousands of answers in seconds, on the real engine, pool and scheduler.

use std::time::Duration;

use super::*;
use secateur_model::{BlockTable, Drawn, FloatType, KvPool, ModelError, Sampler, Sampling};

/// A simulated model that always draws `token + 1`, and checks the invariants that a real model relies on.
struct Simulated;

impl Compute for Simulated {
    fn step(&mut self, rows: &mut [Row<'_>]) -> Result<(), ModelError> {
        for row in rows {
            assert_eq!(row.position as usize, row.table.len(), "the newest token's KV goes behind what is there");
            let len = row.table.len() + 1;
            row.table.set_len(len)?;
            row.drawn = Some(Ok(Drawn { token: row.token + 1, logprob: None }));
        }
        Ok(())
    }
}

struct Client {
    events: mpsc::Receiver<Result<Event, ServiceError>>,
    first: u32,
    left: u32,
    order: String,
}

/// Waits until all blocks are free: the engine thread drops an answer a moment after its client has heard of its end.
async fn all_free(space: &BlockSpace) {
    for _ in 0..2_000 {
        if space.pool().free_blocks() == space.pool().blocks() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{:?}", space.pool());
}

fn space(blocks: usize) -> Arc<BlockSpace> {
    BlockSpace::new(KvPool::of_shape(FloatType::F32, 1, 2, 1, blocks).unwrap(), true)
}

/// Starts an answer to a prompt of `prompt` positions that has `left` tokens left to generate.
async fn start(engine: &Engine, space: &Arc<BlockSpace>, order: &str, prompt: usize, first: u32, left: u32) -> Client {
    let mut table = BlockTable::new(space.pool());
    table.grow(space.lease(table.missing(prompt)).await.unwrap());
    table.set_len(prompt).unwrap();
    let (events, receiver) = mpsc::channel(left as usize + 3);
    let sampler = Sampler::new(Sampling::default(), Vec::new(), &[], &[]);
    let answer = Running {
        order: order.to_owned(),
        sequence: Sequence::new(sampler, Vec::new(), left + 1, 0, first),
        kv: table.into(),
        position: prompt as u32,
        events,
        cancelled: CancellationToken::new(),
        started: Instant::now(),
    };
    engine.submit(answer).unwrap();
    Client { events: receiver, first, left, order: order.to_owned() }
}

/// Reads an answer to its end and checks that its tokens count up without a gap; returns the reason for the end and the
/// number of tokens.
async fn finish(client: &mut Client) -> (Reason, u32) {
    let mut count = 0;
    while let Some(event) = client.events.recv().await {
        match event.unwrap() {
            Event::Tokens(tokens) => {
                count += 1;
                assert_eq!((tokens.index, tokens.ids), (count, vec![client.first + count]));
            }
            Event::Done(done) => {
                assert_eq!(done.tokens, count);
                return (done.reason(), count);
            }
            Event::Opened(_) => panic!("nobody opens here"),
        }
    }
    panic!("the stream ended without a reason")
}

#[tokio::test]
async fn thousands_of_answers_share_a_small_pool_and_give_it_all_back() {
    const ANSWERS: u32 = 4_000;
    let space = space(64);
    let engine = Arc::new(Engine::start(Simulated, space.clone(), 16).unwrap());
    let mut tasks = Vec::new();
    for number in 0..ANSWERS {
        let (engine, space) = (engine.clone(), space.clone());
        tasks.push(tokio::spawn(async move {
            let (mut prompt, mut first, mut left) =
                (1 + (number * 37 % 150) as usize, 1_000 * number, 1 + number * 13 % 90);
            let mut replays = 0;
            loop {
                let mut client = start(&engine, &space, &format!("{number:06}"), prompt, first, left).await;
                let (reason, count) = finish(&mut client).await;
                match reason {
                    Reason::Length => {
                        assert_eq!(count, client.left);
                        return replays;
                    }
                    // The replay of the router: the prompt and all tokens so far are the next attempt's prompt, and its
                    // prefill draws one token.
                    Reason::Preempted => {
                        replays += 1;
                        prompt += 1 + count as usize;
                        first += count + 1;
                        left -= count + 1;
                        if left == 0 {
                            return replays;
                        }
                    }
                    other => panic!("{other:?} of {}", client.order),
                }
            }
        }));
    }
    let mut replays = 0;
    for task in tasks {
        replays += task.await.unwrap();
    }
    assert_eq!(replays, engine.gauges().preemptions.load(Ordering::Relaxed));
    all_free(&space).await;
}

#[tokio::test]
async fn when_blocks_run_out_the_last_to_come_is_recomputed() {
    let space = space(4);
    let engine = Engine::start(Simulated, space.clone(), 8).unwrap();
    // Each answer holds two blocks and needs a third after 16 tokens.
    let mut first = start(&engine, &space, "1", 17, 0, 40).await;
    let mut second = start(&engine, &space, "2", 17, 500, 40).await;
    let (first, second) = tokio::join!(finish(&mut first), finish(&mut second));
    assert_eq!(first, (Reason::Length, 40));
    assert_eq!(second.0, Reason::Preempted);
    all_free(&space).await;
}

#[tokio::test]
async fn a_cancelled_answer_frees_its_blocks() {
    let space = space(8);
    let engine = Engine::start(Simulated, space.clone(), 8).unwrap();
    let mut other = start(&engine, &space, "1", 3, 0, 100).await;
    let mut table = BlockTable::new(space.pool());
    table.grow(space.lease(1).await.unwrap());
    let (cancelled, leash) = engine.leash();
    let (events, _gone) = mpsc::channel(3);
    let sampler = Sampler::new(Sampling::default(), Vec::new(), &[], &[]);
    let sequence = Sequence::new(sampler, Vec::new(), 1_000_000, 0, 0);
    let (order, started) = ("2".to_owned(), Instant::now());
    let answer = Running { order, sequence, kv: table.into(), position: 0, events, cancelled, started };
    drop(leash);
    engine.submit(answer).unwrap();
    finish(&mut other).await;
    all_free(&space).await;
}

/// A simulated model whose logits after the token [`OVERFLOWS`] are not numbers.
struct Overflowing;

const OVERFLOWS: u32 = 507;

impl Compute for Overflowing {
    fn step(&mut self, rows: &mut [Row<'_>]) -> Result<(), ModelError> {
        Simulated.step(rows)?;
        for row in rows.iter_mut().filter(|row| row.token == OVERFLOWS) {
            row.drawn = Some(row.sampler.draw(&mut [f32::NAN; 4]));
        }
        Ok(())
    }
}

#[tokio::test]
async fn logits_that_are_no_numbers_end_their_answer_and_no_other() {
    let space = space(8);
    let engine = Engine::start(Overflowing, space.clone(), 8).unwrap();
    let mut sound = start(&engine, &space, "1", 3, 0, 60).await;
    let mut broken = start(&engine, &space, "2", 3, 500, 60).await;
    for token in 501..=OVERFLOWS {
        let Event::Tokens(tokens) = broken.events.recv().await.unwrap().unwrap() else { panic!("{token}") };
        assert_eq!(tokens.ids, [token]);
    }
    let error = broken.events.recv().await.unwrap().unwrap_err();
    assert_eq!(error.code, ErrorCode::Internal);
    assert!(error.message.contains("logits"), "{error}");
    assert!(broken.events.recv().await.is_none());
    assert_eq!(finish(&mut sound).await, (Reason::Length, 60));
    all_free(&space).await;
}

/// A model that panics in every step.
struct Broken;

impl Compute for Broken {
    fn step(&mut self, _: &mut [Row<'_>]) -> Result<(), ModelError> {
        panic!("a defect")
    }
}

#[tokio::test]
async fn a_panic_fails_the_answers_of_its_step_and_not_the_node() {
    let space = space(8);
    let engine = Engine::start(Broken, space.clone(), 8).unwrap();
    for order in ["1", "2"] {
        let mut client = start(&engine, &space, order, 3, 0, 10).await;
        assert_eq!(client.events.recv().await.unwrap().unwrap_err().code, ErrorCode::Internal);
    }
    all_free(&space).await;
}

/// Starts an answer whose next row needs a block.
async fn start_full(engine: &Engine, space: &Arc<BlockSpace>, order: &str) -> (Client, Leash) {
    let mut table = BlockTable::new(space.pool());
    table.grow(space.lease(1).await.unwrap());
    table.set_len(16).unwrap();
    let (events, receiver) = mpsc::channel(40);
    let sampler = Sampler::new(Sampling::default(), Vec::new(), &[], &[]);
    let sequence = Sequence::new(sampler, Vec::new(), 20, 0, 7);
    let (cancelled, leash) = engine.leash();
    let (order, started) = (order.to_owned(), Instant::now());
    let answer = Running { order: order.clone(), sequence, kv: table.into(), position: 16, events, cancelled, started };
    engine.submit(answer).unwrap();
    (Client { events: receiver, first: 7, left: 19, order }, leash)
}

/// Nothing polls, so a lost wake-up would hang this test.
#[tokio::test]
async fn answers_that_all_wait_go_on_with_the_block_that_becomes_free() {
    // An answer of 35 positions needs three blocks.
    let space = space(3);
    let engine = Engine::start(Simulated, space.clone(), 8).unwrap();
    for round in 0..300 {
        let arriving = space.lease(2).await.unwrap();
        let (mut client, leash) = start_full(&engine, &space, "1").await;
        if round % 3 > 0 {
            tokio::task::yield_now().await;
        }
        if round % 10 == 0 {
            // A cancelled answer leaves too, although no block is freed.
            drop(leash);
            assert!(client.events.recv().await.is_none());
            drop(arriving);
        } else {
            let freed = std::thread::spawn(move || drop(arriving));
            assert_eq!(finish(&mut client).await, (Reason::Length, 19));
            freed.join().unwrap();
        }
        all_free(&space).await;
    }
}

/// The panic comes from a table with blocks of another pool, which no real request has: growing it panics between two
/// steps.
#[tokio::test]
async fn a_panic_between_steps_ends_the_engine_and_every_answer_with_it() {
    // The pool has room for many steps, so the answer runs for a while.
    let (space, other) = (space(64_000), space(8));
    let engine = Engine::start(Simulated, space.clone(), 8).unwrap();
    let mut sound = start(&engine, &space, "1", 3, 0, 1_000_000).await;
    assert!(matches!(sound.events.recv().await, Some(Ok(Event::Tokens(_)))));
    assert!(!engine.life().has_ended());
    let _broken = start_full(&engine, &other, "2").await;
    let ended = async {
        while sound.events.recv().await.is_some() {}
        engine.life().ended().await;
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("the engine's end does not show");
    let error = engine.submit(answer_of(&space).await).unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable);
}

async fn answer_of(space: &Arc<BlockSpace>) -> Running {
    let sampler = Sampler::new(Sampling::default(), Vec::new(), &[], &[]);
    let mut table = BlockTable::new(space.pool());
    table.grow(space.lease(1).await.unwrap());
    Running {
        order: "3".to_owned(),
        sequence: Sequence::new(sampler, Vec::new(), 20, 0, 7),
        kv: table.into(),
        position: 0,
        events: mpsc::channel(3).0,
        cancelled: CancellationToken::new(),
        started: Instant::now(),
    }
}
