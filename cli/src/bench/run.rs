//! A scenario from its first request to its last answer.

use std::time::Duration;

use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    arguments::BenchArguments,
    client::{Answer, Client},
    prompt::Scale,
    request,
    scenario::{Pace, Scenario, arrivals},
    summary::{Row, Summary},
};
use crate::up::report::progress;

/// Of a scenario's errors, so many are shown.
const ERRORS_SHOWN: usize = 3;

/// Measures one scenario after another.
pub struct Bench<'a> {
    client: Client,
    model: String,
    arguments: &'a BenchArguments,
    /// Characters of each text.
    chars: usize,
    /// Requests made so far, over all scenarios: the next one's number.
    made: u64,
}

/// What became of a scenario's requests.
#[derive(Default)]
pub struct Outcome {
    pub answers: Vec<Answer>,
    pub errors: Vec<String>,
    /// First request to last answer.
    pub duration: Duration,
}

impl<'a> Bench<'a> {
    /// Finds out how long texts must be.
    pub async fn new(client: Client, model: String, arguments: &'a BenchArguments) -> anyhow::Result<Bench<'a>> {
        let scale = Scale::find(&client, arguments.model.as_deref(), &model).await;
        Ok(Bench { client, model, arguments, chars: scale.chars(arguments.input_len), made: 0 })
    }

    /// Warms up, sends every request, and sums up.
    pub async fn measure(&mut self, scenario: &Scenario) -> anyhow::Result<Row> {
        let warm_up = self.bodies(self.arguments.warmup)?;
        let bodies = self.bodies(self.arguments.requests)?;
        let arguments = self.arguments;
        let (warmed, outcome) = match scenario.pace {
            Pace::Closed(concurrency) => {
                (closed(&self.client, warm_up, concurrency).await, closed(&self.client, bodies, concurrency).await)
            }
            Pace::Open(rate) => {
                let schedule = arrivals(rate, arguments.requests, arguments.seed);
                (closed(&self.client, warm_up, 1).await, open(&self.client, bodies, schedule).await)
            }
        };
        show_errors("of the warm-up", &warmed.errors);
        show_errors("counted", &outcome.errors);
        Ok(Summary::of(&outcome).row(scenario, arguments))
    }

    /// The next so many bodies. Made beforehand, as making them takes time of the same processors.
    fn bodies(&mut self, count: u32) -> anyhow::Result<Vec<Vec<u8>>> {
        let first = self.made;
        self.made += u64::from(count);
        (first..self.made).map(|index| request::body(self.arguments, &self.model, index, self.chars)).collect()
    }
}

/// So many requests in flight, until all are sent.
pub async fn closed(client: &Client, bodies: Vec<Vec<u8>>, concurrency: u32) -> Outcome {
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
    }
    outcome.duration = started.elapsed();
    outcome
}

/// Each request at its moment, whatever became of those before.
pub async fn open(client: &Client, bodies: Vec<Vec<u8>>, schedule: Vec<Duration>) -> Outcome {
    let started = Instant::now();
    let mut outcome = Outcome::default();
    let mut flying = JoinSet::new();
    for (body, at) in bodies.into_iter().zip(schedule) {
        sleep_until(started + at).await;
        launch(&mut flying, client, body);
    }
    while let Some(ended) = flying.join_next().await {
        outcome.add(ended);
    }
    outcome.duration = started.elapsed();
    outcome
}

/// A task of its own, so that reading one answer does not delay the clock of another. It ends when the set is dropped.
fn launch(flying: &mut JoinSet<anyhow::Result<Answer>>, client: &Client, body: Vec<u8>) {
    let client = client.clone();
    flying.spawn(async move { client.ask(body).await });
}

impl Outcome {
    fn add(&mut self, ended: Result<anyhow::Result<Answer>, tokio::task::JoinError>) {
        match ended {
            Ok(Ok(answer)) => self.answers.push(answer),
            Ok(Err(error)) => self.errors.push(format!("{error:#}")),
            Err(error) => self.errors.push(error.to_string()),
        }
    }
}

fn show_errors(which: &str, errors: &[String]) {
    for error in errors.iter().take(ERRORS_SHOWN) {
        progress(&format!("a request {which} failed: {error}"));
    }
    if errors.len() > ERRORS_SHOWN {
        progress(&format!("and {} more {which}", errors.len() - ERRORS_SHOWN));
    }
}
