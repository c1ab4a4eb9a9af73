//! What a request and its answers hold of their key until they end, however that is.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU8, Ordering},
};

use secateur_proto::ServiceError;
use tokio::time::Instant;

use super::{
    account::{Account, Standing},
    usage::Outcome,
};
use crate::request::Class;

/// A key with a name. It outlives its line in the file for as long as requests hold it.
#[derive(Debug)]
pub struct Key {
    /// Name in metrics and logs.
    name: String,
    /// Locked only while counting.
    account: Mutex<Account>,
}

impl Key {
    /// A key that has used nothing.
    pub fn new(name: String, account: Account) -> Self {
        Self { name, account: Mutex::new(account) }
    }

    /// Name in metrics and logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Locks the account even if another holder panicked: each update leaves it whole.
    pub fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who sent a request. Nobody in particular where no key is asked for, or where it has no name.
#[derive(Clone, Debug, Default)]
pub struct Caller(Option<Arc<Call>>);

/// One request of a key, counted when its last holder drops it.
#[derive(Debug)]
struct Call {
    key: Arc<Key>,
    class: Class,
    /// 0 while nothing is known, then 1 and more: the worst outcome so far by its place in [`Outcome::ALL`].
    outcome: AtomicU8,
}

/// What one answer holds of its key: a place among the answers at once, and the tokens of its prompt until they are
/// settled.
#[derive(Debug, Default)]
pub struct Charge(Option<Held>);

#[derive(Debug)]
struct Held {
    call: Arc<Call>,
    /// Tokens that the prompt was charged with and that are not settled; 0 for an answer that shares another's prompt.
    reserved: u32,
    has_begun: bool,
}

impl Caller {
    /// The caller of a request that `key` has paid for.
    pub fn new(key: Arc<Key>, class: Class) -> Self {
        Self(Some(Arc::new(Call { key, class, outcome: AtomicU8::new(0) })))
    }

    /// Name of the caller's key; `None` for nobody in particular.
    pub fn name(&self) -> Option<&str> {
        self.0.as_ref().map(|call| call.key.name())
    }

    /// Class of the caller's requests.
    pub fn class(&self) -> Class {
        self.0.as_ref().map(|call| call.class).unwrap_or_default()
    }

    /// Records the status that the request was answered with.
    pub fn responded(&self, status: u16) {
        if let Some(call) = &self.0 {
            call.note(Outcome::of_status(status));
        }
    }

    /// What is left of the key's limits; `None` for a caller without a name.
    pub fn standing(&self, now: Instant) -> Option<Standing> {
        self.0.as_ref().map(|call| call.key.account().standing(now))
    }

    /// Takes what `per_prompt` answers to each of some prompts need, given each prompt's tokens at most. The charges
    /// come in the order of the answers.
    pub fn answers(
        &self,
        prompts: impl ExactSizeIterator<Item = u32>,
        per_prompt: usize,
    ) -> Result<Vec<Charge>, ServiceError> {
        let count = prompts.len() * per_prompt;
        let Some(call) = &self.0 else { return Ok((0..count).map(|_| Charge::default()).collect()) };
        call.key.account().answers(count)?;
        let now = Instant::now();
        let mut charges = Vec::with_capacity(count);
        for tokens in prompts {
            call.key.account().reserve_prompt(tokens, now);
            // The first answer pays for the prompt, which is counted once.
            charges.extend((0..per_prompt).map(|number| {
                let reserved = if number == 0 { tokens } else { 0 };
                Charge(Some(Held { call: call.clone(), reserved, has_begun: false }))
            }));
        }
        Ok(charges)
    }
}

impl Call {
    fn note(&self, outcome: Outcome) {
        self.outcome.fetch_max(outcome as u8 + 1, Ordering::Relaxed);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let noted = usize::from(self.outcome.load(Ordering::Relaxed)).checked_sub(1);
        // A request that ends without a status was left by its client.
        let outcome = noted.and_then(|place| Outcome::ALL.get(place).copied()).unwrap_or(Outcome::Abort);
        self.key.account().request_ended(outcome);
    }
}

impl Charge {
    /// Records that the answer's first token has come, so that its prompt was computed.
    pub fn begun(&mut self) {
        if let Some(held) = &mut self.0 {
            held.has_begun = true;
        }
    }

    /// Charges tokens of the answer.
    pub fn complete(&self, tokens: usize) {
        if let Some(held) = &self.0 {
            held.call.key.account().complete(u32::try_from(tokens).unwrap_or(u32::MAX), Instant::now());
        }
    }

    /// Records that the answer is whole, and that its prompt had `prompt_tokens`.
    pub fn finished(&mut self, prompt_tokens: u32) {
        if let Some(held) = &mut self.0 {
            held.settle(prompt_tokens);
            held.call.note(Outcome::Ok);
        }
    }

    /// Records that the answer has ended before it was whole: with an error of this HTTP status, or without one, since
    /// its client left.
    pub fn broken_off(&self, status: Option<u16>) {
        if let Some(held) = &self.0 {
            held.call.note(status.map_or(Outcome::Abort, Outcome::of_status));
        }
    }
}

impl Held {
    fn settle(&mut self, tokens: u32) {
        let reserved = std::mem::take(&mut self.reserved);
        if reserved > 0 {
            self.call.key.account().settle_prompt(reserved, tokens, Instant::now());
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The exact number is not known for an answer that broke off; the bound stands for it.
        let computed = if self.has_begun { self.reserved } else { 0 };
        self.settle(computed);
        self.call.key.account().answer_ended();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{entry::Limits, usage::Usage};

    fn key(tokens_per_minute: u32, concurrency: u32) -> Arc<Key> {
        let limits = Limits {
            requests_per_minute: None,
            tokens_per_minute: Some(tokens_per_minute),
            concurrency: Some(concurrency),
        };
        Arc::new(Key::new("a".to_owned(), Account::new(limits, Instant::now())))
    }

    fn usage(key: &Key) -> Usage {
        key.account().usage().clone()
    }

    fn left(key: &Key) -> u32 {
        key.account().standing(Instant::now()).tokens.unwrap().remaining
    }

    /// Limits so low that no whole token comes back while a test runs.
    const SLOW: u32 = 10;

    #[test]
    fn an_answer_holds_its_place_and_its_prompt_until_it_ends() {
        let key = key(SLOW, 4);
        let caller = Caller::new(key.clone(), Class::Batch);
        assert_eq!(caller.class(), Class::Batch);
        let mut charges = caller.answers([3, 2].into_iter(), 2).unwrap();
        assert_eq!((usage(&key).running, left(&key), charges.len()), (4, 5, 4));
        assert!(caller.answers([1].into_iter(), 1).is_err());
        charges[0].begun();
        charges[0].complete(2);
        charges[0].finished(1);
        charges[1].finished(99);
        assert_eq!(left(&key), 5, "the bound of 3 becomes 1, the answer had 2, and the second pays for no prompt");
        drop(charges);
        assert_eq!(left(&key), 7, "a prompt that was not computed costs nothing");
        drop(caller);
        let usage = usage(&key);
        assert_eq!((usage.running, usage.prompt_tokens, usage.completion_tokens), (0, 1, 2));
        assert_eq!(usage.requests(Outcome::Ok), 1);
    }

    #[test]
    fn a_prompt_that_was_computed_is_paid_for_though_its_client_left() {
        let key = key(SLOW, 4);
        let caller = Caller::new(key.clone(), Class::Interactive);
        let mut charges = caller.answers([4].into_iter(), 1).unwrap();
        charges[0].begun();
        charges[0].broken_off(None);
        drop((charges, caller));
        assert_eq!((left(&key), usage(&key).prompt_tokens, usage(&key).requests(Outcome::Abort)), (6, 4, 1));
    }

    #[test]
    fn a_request_ends_as_badly_as_its_worst_answer() {
        for (status, ends, outcome) in [
            (None, None, Outcome::Abort),
            (Some(200), None, Outcome::Ok),
            (Some(400), None, Outcome::ClientError),
            (Some(200), Some(None), Outcome::Abort),
            (Some(200), Some(Some(503)), Outcome::ServerError),
            (Some(400), Some(Some(400)), Outcome::ClientError),
        ] {
            let key = key(SLOW, 4);
            let caller = Caller::new(key.clone(), Class::Interactive);
            let charges = caller.answers([1].into_iter(), 1).unwrap();
            if let Some(ends) = ends {
                charges[0].broken_off(ends);
            }
            if let Some(status) = status {
                caller.responded(status);
            }
            drop(caller);
            assert_eq!(Outcome::ALL.map(|outcome| usage(&key).requests(outcome)), [0; 4], "its answer still runs");
            drop(charges);
            assert_eq!(usage(&key).requests(outcome), 1, "{status:?} {ends:?}");
        }
    }

    #[test]
    fn nobody_in_particular_is_not_counted() {
        let nobody = Caller::default();
        let mut charges = nobody.answers([5].into_iter(), 2).unwrap();
        charges[0].finished(5);
        assert_eq!((charges.len(), nobody.standing(Instant::now()), nobody.class()), (2, None, Class::Interactive));
    }
}
