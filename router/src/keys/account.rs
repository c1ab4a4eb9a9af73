//! The rate accounting of one key. Plain data; the time comes in as an argument.
//!
//! A request takes one of its key's requests, whatever becomes of it. An answer takes a place among the answers at
//! once, and the tokens of its prompt, as soon as they are counted: many requests that arrive together cannot all pass
//! before the first of them is charged. Tokens of the answer are charged as they come, so that the next request may
//! find a debt, which has to be paid first.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    bucket::{Bucket, Level},
    entry::Limits,
    refusal::{Limit, Reason, Refusal},
    usage::{Outcome, Usage},
};

/// What a request costs its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Nothing: a look at the cluster.
    Nothing,
    /// One request.
    Request,
    /// One request, and answers with their tokens.
    Answers,
}

/// What is left of a key's limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Requests; `None` without a limit.
    pub requests: Option<Level>,
    /// Tokens; `None` without a limit.
    pub tokens: Option<Level>,
}

/// One key's limits, what is left of them, and what was used.
#[derive(Debug)]
pub struct Account {
    limits: Limits,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    usage: Usage,
}

impl Account {
    /// An account that has used nothing.
    pub fn new(limits: Limits, now: Instant) -> Self {
        let full = |per_minute: u32| Bucket::full(per_minute, now);
        Self {
            limits,
            requests: limits.requests_per_minute.map(full),
            tokens: limits.tokens_per_minute.map(full),
            usage: Usage::default(),
        }
    }

    /// Changes the limits. What was used counts on.
    pub fn set_limits(&mut self, limits: Limits, now: Instant) {
        self.limits = limits;
        for (bucket, limit) in
            [(&mut self.requests, limits.requests_per_minute), (&mut self.tokens, limits.tokens_per_minute)]
        {
            match (bucket.as_mut(), limit) {
                (Some(bucket), Some(limit)) => bucket.resize(limit, now),
                (_, limit) => *bucket = limit.map(|limit| Bucket::full(limit, now)),
            }
        }
    }

    /// Takes one request, or says which limit it is over.
    pub fn request(&mut self, cost: Cost, now: Instant) -> Result<(), Refusal> {
        let over = self.over(cost, now);
        match over {
            Some(refusal) => self.usage.refused(refusal.reason()),
            None => {
                if let Some(bucket) = &mut self.requests {
                    bucket.charge(1, now);
                }
            }
        }
        over.map_or(Ok(()), Err)
    }

    fn over(&self, cost: Cost, now: Instant) -> Option<Refusal> {
        let is_over = |bucket: &Option<Bucket>, limit: fn(u32) -> Limit| {
            let bucket = bucket.as_ref()?;
            let wait = bucket.has_one(now).err()?;
            Some(Refusal { limit: limit(bucket.level(now).limit), wait })
        };
        if cost == Cost::Answers {
            let over = self.over_at_once(1).or_else(|| is_over(&self.tokens, Limit::Tokens));
            if over.is_some() {
                return over;
            }
        }
        is_over(&self.requests, Limit::Requests)
    }

    /// Takes places for so many answers, all or none.
    pub fn answers(&mut self, count: usize) -> Result<(), Refusal> {
        if let Some(refusal) = self.over_at_once(count) {
            self.usage.refused(refusal.reason());
            return Err(refusal);
        }
        self.usage.running = self.usage.running.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        Ok(())
    }

    fn over_at_once(&self, count: usize) -> Option<Refusal> {
        let limit = self.limits.concurrency?;
        let free = limit.saturating_sub(self.usage.running) as usize;
        let limit = match count {
            count if count <= free => return None,
            count if count > limit as usize => Limit::Never { asked: count, limit },
            _ => Limit::Concurrency(limit),
        };
        Some(Refusal { limit, wait: Duration::ZERO })
    }

    /// Gives back the place of an answer that has ended.
    pub fn answer_ended(&mut self) {
        self.usage.running = self.usage.running.saturating_sub(1);
    }

    /// Charges a prompt that is about to be computed with `tokens`, an upper bound.
    pub fn reserve_prompt(&mut self, tokens: u32, now: Instant) {
        self.charge(tokens, now);
    }

    /// Settles a prompt that was charged with `reserved` and had `tokens`; 0 if it was not computed.
    pub fn settle_prompt(&mut self, reserved: u32, tokens: u32, now: Instant) {
        // The difference alone: of a whole refund, a bucket that has filled meanwhile would keep nothing.
        self.charge(tokens.saturating_sub(reserved), now);
        if let Some(bucket) = &mut self.tokens {
            bucket.refund(reserved.saturating_sub(tokens).into(), now);
        }
        self.usage.prompt_tokens += u64::from(tokens);
    }

    /// Charges tokens of an answer.
    pub fn complete(&mut self, tokens: u32, now: Instant) {
        self.charge(tokens, now);
        self.usage.completion_tokens += u64::from(tokens);
    }

    fn charge(&mut self, tokens: u32, now: Instant) {
        if let Some(bucket) = &mut self.tokens {
            bucket.charge(tokens.into(), now);
        }
    }

    /// Counts a request that has ended.
    pub fn request_ended(&mut self, outcome: Outcome) {
        self.usage.ended(outcome);
    }

    /// Counts a refusal for a reason that the account does not know itself.
    pub fn refused(&mut self, reason: Reason) {
        self.usage.refused(reason);
    }

    /// What is left.
    pub fn standing(&self, now: Instant) -> Standing {
        let level = |bucket: &Option<Bucket>| bucket.as_ref().map(|bucket| bucket.level(now));
        Standing { requests: level(&self.requests), tokens: level(&self.tokens) }
    }

    /// What was used.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Limits = Limits { requests_per_minute: None, tokens_per_minute: None, concurrency: None };

    fn remaining(level: Option<Level>) -> Option<u32> {
        level.map(|level| level.remaining)
    }

    #[test]
    fn requests_run_out_and_a_refused_one_costs_nothing() {
        let now = Instant::now();
        let mut account = Account::new(Limits { requests_per_minute: Some(2), ..NONE }, now);
        account.request(Cost::Answers, now).unwrap();
        account.request(Cost::Request, now).unwrap();
        for _ in 0..3 {
            let refusal = account.request(Cost::Request, now).unwrap_err();
            assert_eq!((refusal.limit, refusal.retry_after_s()), (Limit::Requests(2), 30));
        }
        account.request(Cost::Request, now + Duration::from_secs(30)).unwrap();
        assert_eq!(account.usage().refusals(Reason::Requests), 3);
        assert_eq!(remaining(account.standing(now + Duration::from_secs(30)).requests), Some(0));
        assert_eq!(account.standing(now).tokens, None);
    }

    #[test]
    fn tokens_are_charged_when_they_are_known_and_a_debt_delays_answers_alone() {
        let now = Instant::now();
        let mut account = Account::new(Limits { tokens_per_minute: Some(60), ..NONE }, now);
        account.request(Cost::Answers, now).unwrap();
        account.reserve_prompt(50, now);
        assert_eq!(remaining(account.standing(now).tokens), Some(10), "before the prompt is computed");
        account.request(Cost::Answers, now).unwrap();
        account.settle_prompt(50, 40, now);
        assert_eq!(remaining(account.standing(now).tokens), Some(20));
        account.complete(79, now);
        let refusal = account.request(Cost::Answers, now).unwrap_err();
        assert_eq!((refusal.limit, refusal.retry_after_s()), (Limit::Tokens(60), 60));
        account.request(Cost::Request, now).unwrap();
        let later = now + Duration::from_secs(60);
        account.request(Cost::Answers, later).unwrap();
        account.reserve_prompt(1, later);
        let full = later + Duration::from_secs(60);
        account.settle_prompt(1, 1, full);
        assert_eq!(remaining(account.standing(full).tokens), Some(60), "a prompt is not charged twice");
        assert_eq!((account.usage().prompt_tokens, account.usage().completion_tokens), (41, 79));
    }

    #[test]
    fn answers_at_once_are_all_or_none() {
        let now = Instant::now();
        let mut account = Account::new(Limits { concurrency: Some(3), ..NONE }, now);
        account.answers(2).unwrap();
        assert_eq!(account.answers(2).unwrap_err().limit, Limit::Concurrency(3));
        assert_eq!(account.answers(4).unwrap_err().limit, Limit::Never { asked: 4, limit: 3 });
        account.answers(1).unwrap();
        assert_eq!(account.request(Cost::Answers, now).unwrap_err().reason(), Reason::Concurrency);
        account.request(Cost::Request, now).unwrap();
        (0..3).for_each(|_| account.answer_ended());
        assert_eq!((account.usage().running, account.usage().refusals(Reason::Concurrency)), (0, 3));
        account.request(Cost::Answers, now).unwrap();
    }

    #[test]
    fn new_limits_count_on() {
        let now = Instant::now();
        let two = Limits { requests_per_minute: Some(2), ..NONE };
        let mut account = Account::new(two, now);
        account.answers(1).unwrap();
        (0..2).for_each(|_| account.request(Cost::Answers, now).unwrap());
        account.set_limits(Limits { requests_per_minute: Some(600), tokens_per_minute: Some(9), ..NONE }, now);
        assert!(account.request(Cost::Request, now).is_err(), "a reload is no new minute");
        assert_eq!(remaining(account.standing(now).tokens), Some(9));
        assert_eq!(account.usage().running, 1);
        account.set_limits(NONE, now);
        account.request(Cost::Answers, now).unwrap();
        assert_eq!(account.standing(now), Standing::default());
    }
}
