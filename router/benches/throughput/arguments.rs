//! The command line.

use std::time::Duration;

/// What to measure.
pub struct Arguments {
    pub model: Option<String>,
    pub rounds: usize,
    /// Time of one measurement.
    pub time: Duration,
    /// Requests at once.
    pub at_once: Vec<usize>,
    /// Tokens of a whole answer, and of a streamed one.
    pub whole: usize,
    pub stream: usize,
    /// Tokens of the long prompt.
    pub prompt: usize,
    /// Threads of the router.
    pub threads: usize,
    pub only: Option<String>,
    pub json: bool,
}

impl Arguments {
    pub fn read() -> Arguments {
        let mut found = Arguments {
            model: None,
            rounds: 5,
            time: Duration::from_millis(500),
            at_once: vec![1, 16, 64, 256],
            whole: 16,
            stream: 64,
            prompt: 2_000,
            threads: std::thread::available_parallelism().map_or(2, usize::from),
            only: None,
            json: false,
        };
        if !std::env::args().any(|argument| argument.starts_with("--")) {
            found.try_out();
        }
        let mut given = std::env::args().skip(1);
        while let Some(flag) = given.next() {
            let mut value = || given.next().unwrap_or_else(|| panic!("{flag} needs a value"));
            let number = |text: String| text.parse::<usize>().unwrap().max(1);
            match flag.as_str() {
                "--model" => found.model = Some(value()),
                "--rounds" => found.rounds = number(value()),
                "--seconds" => found.time = Duration::from_secs_f64(value().parse().unwrap()),
                "--at-once" => found.at_once = value().split(',').map(|text| number(text.to_owned())).collect(),
                "--whole" => found.whole = number(value()),
                "--stream" => found.stream = number(value()),
                "--prompt" => found.prompt = number(value()),
                "--threads" => found.threads = number(value()),
                "--only" => found.only = Some(value()),
                "--json" => found.json = true,
                // Cargo passes this flag to every benchmark, and its filters.
                "--bench" => {}
                other => assert!(!other.starts_with("--"), "unknown flag {other}"),
            }
        }
        found
    }

    /// As `cargo test` runs it, without a flag: everything once and in a moment.
    fn try_out(&mut self) {
        (self.rounds, self.time, self.at_once, self.prompt) = (1, Duration::from_millis(20), vec![1, 4], 200);
    }
}
