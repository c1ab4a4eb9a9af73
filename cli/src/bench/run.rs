//! The run of a scenario from its first request to its last answer.

use std::{ops::Range, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    answer::{self, Answer},
    arguments::BenchArguments,
    compare::ToDense,
    outcome::Outcome,
    prompt::Scale,
    request::{self, Ask},
    rounds,
    row::{Head, Row},
    scenario::{Pace, Scenario, arrivals},
    summary::Summary,
};
use crate::{client::connection::Client, console::progress, progress::Progress};
use secateur_transfer::TransferPolicy;

/// Number of a scenario's errors that are shown.
const ERRORS_SHOWN: usize = 3;

/// Measures one scenario after another.
pub struct Bench<'a> {
    client: Client,
    model: String,
    arguments: &'a BenchArguments,
    /// Characters of each prompt's text.
    chars: usize,
    policies: &'a [Option<TransferPolicy>],
    /// Number of requests made so far, over all scenarios; it is the next one's label.
    made: u64,
    /// Number of prompts used so far; it is the next one's number.
    prompts: u64,
}

impl<'a> Bench<'a> {
    /// Prepares the measurement: finds the length of texts for the requested number of tokens.
    pub async fn new(
        client: Client,
        model: String,
        arguments: &'a BenchArguments,
        policies: &'a [Option<TransferPolicy>],
    ) -> anyhow::Result<Bench<'a>> {
        let scale = Scale::find(&client, arguments.model.as_deref(), &model).await;
        let chars = scale.chars(arguments.input_len);
        Ok(Bench { client, model, arguments, chars, policies, made: 0, prompts: 0 })
    }

    /// Warms up, sends every request under every policy, and summarises: one row for each policy.
    pub async fn measure(&mut self, scenario: &Scenario, head: Head) -> anyhow::Result<Vec<Row>> {
        let (warmup, requests) = (self.arguments.warmup, self.arguments.requests);
        let start = self.prompts;
        self.prompts += u64::from(warmup) + u64::from(requests);
        for turn in 0..self.policies.len() {
            let bodies = self.bodies(start, 0..warmup, turn)?;
            let concurrency = match scenario.pace {
                Pace::Closed(concurrency) => concurrency,
                Pace::Open(_) => 1,
            };
            show_errors("of the warm-up", &closed(&self.client, bodies, concurrency, &mut || {}).await.errors);
        }
        let mut found: Vec<Vec<Outcome>> = self.policies.iter().map(|_| Vec::new()).collect();
        let rounds = rounds::count(self.arguments.rounds, self.policies.len(), requests);
        let mut shown = Progress::of(scenario.pace.to_string(), u64::from(requests) * self.policies.len() as u64);
        let mut ended = 0;
        let mut on_end = || {
            ended += 1;
            shown.set(ended, "");
        };
        for round in 0..rounds {
            for turn in rounds::turns(round, self.policies.len()) {
                let range = rounds::requests(round, rounds, requests);
                let bodies = self.bodies(start + u64::from(warmup), range, turn)?;
                let outcome = self.round(scenario, round, bodies, &mut on_end).await;
                show_errors("counted", &outcome.errors);
                found[turn].push(outcome);
            }
        }
        Ok(self.rows(scenario, head, found))
    }

    async fn round(&self, scenario: &Scenario, round: u32, bodies: Vec<Vec<u8>>, on_end: &mut impl FnMut()) -> Outcome {
        match scenario.pace {
            Pace::Closed(concurrency) => closed(&self.client, bodies, concurrency, on_end).await,
            Pace::Open(rate) => {
                let seed = self.arguments.seed.wrapping_add(round.into());
                let schedule = arrivals(rate, bodies.len() as u32, seed);
                open(&self.client, bodies, schedule, on_end).await
            }
        }
    }

    /// Makes one row from each policy's rounds.
    fn rows(&self, scenario: &Scenario, head: Head, found: Vec<Vec<Outcome>>) -> Vec<Row> {
        let by_round: Vec<Vec<Summary>> = found.iter().map(|rounds| rounds.iter().map(Summary::of).collect()).collect();
        let dense = self.policies.iter().position(|policy| *policy == Some(TransferPolicy::Dense));
        let row = |(turn, rounds): (usize, Vec<Outcome>)| {
            let to_dense = dense.filter(|&dense| dense != turn);
            let to_dense = to_dense.map(|dense| ToDense::of(&by_round[turn], &by_round[dense]));
            let (policy, count) = (self.policies[turn], rounds.len());
            let summary = Summary::of(&rounds.into_iter().fold(Outcome::default(), Outcome::and));
            summary.row(scenario, self.arguments, Head { policy, rounds: count, to_dense, ..head })
        };
        found.into_iter().enumerate().map(row).collect()
    }

    /// Bodies of the prompts `range` after `start`. They are made beforehand, because making them takes time on the
    /// same processors.
    fn bodies(&mut self, start: u64, range: Range<u32>, turn: usize) -> anyhow::Result<Vec<Vec<u8>>> {
        let policy = self.policies[turn];
        let body = |index: u32| {
            let ask = Ask { prompt: start + u64::from(index), label: self.made, policy };
            self.made += 1;
            request::body(self.arguments, &self.model, ask, self.chars)
        };
        range.map(body).collect()
    }
}

/// Keeps `concurrency` requests in flight until all are sent. Calls `on_end` for each that ended.
pub async fn closed(client: &Client, bodies: Vec<Vec<u8>>, concurrency: u32, on_end: &mut impl FnMut()) -> Outcome {
    let started = Instant::now();
    let mut bodies = bodies.into_iter();
    let mut outcome = Outcome::default();
    let mut flying = JoinSet::new();
    loop {
        while flying.len() < concurrency as usize
            && let Some(body) = bodies.next()
        {
            launch(&mut flying, client, body);
        }
        match flying.join_next().await {
            Some(ended) => outcome.add(ended),
            None => break,
        }
        on_end();
    }
    outcome.duration = started.elapsed();
    outcome
}

/// Sends each request at its scheduled moment, whether or not earlier ones have ended.
pub async fn open(
    client: &Client,
    bodies: Vec<Vec<u8>>,
    schedule: Vec<Duration>,
    on_end: &mut impl FnMut(),
) -> Outcome {
    let started = Instant::now();
    let mut outcome = Outcome::default();
    let mut flying = JoinSet::new();
    for (body, at) in bodies.into_iter().zip(schedule) {
        sleep_until(started + at).await;
        launch(&mut flying, client, body);
    }
    while let Some(ended) = flying.join_next().await {
        outcome.add(ended);
        on_end();
    }
    outcome.duration = started.elapsed();
    outcome
}

/// Spawns a task per request, so that reading one answer does not delay the clock of another. It ends when the set is
/// dropped.
fn launch(flying: &mut JoinSet<anyhow::Result<Answer>>, client: &Client, body: Vec<u8>) {
    let client = client.clone();
    flying.spawn(async move { answer::ask(&client, body).await });
}

fn show_errors(which: &str, errors: &[String]) {
    for error in errors.iter().take(ERRORS_SHOWN) {
        progress(&format!("a request {which} failed: {error}"));
    }
    if errors.len() > ERRORS_SHOWN {
        progress(&format!("and {} more {which}", errors.len() - ERRORS_SHOWN));
    }
}
