//! The keys in force.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    account::{Account, Cost, Standing},
    caller::{Caller, Key},
    digest::KeyDigest,
    entry::KeyEntry,
    file::{KeysError, KeysFile},
    refusal::{Reason, Refusal},
    usage::KeyFigures,
};
use crate::request::Class;

/// The keys that open the router: those of a file, which have names and may be exchanged, and those without a name.
#[derive(Debug)]
pub struct Keyring {
    /// Keys without a name, and so without limits.
    unnamed: Vec<KeyDigest>,
    /// Whether the keys come from a file, so that a key is needed even if none is left.
    has_file: bool,
    /// Locked only to take or to exchange the reference.
    named: RwLock<Arc<Named>>,
}

/// The keys of one reading of the file.
#[derive(Debug, Default)]
struct Named {
    by_digest: HashMap<KeyDigest, Terms>,
}

/// A key with what the file says about it.
#[derive(Debug)]
struct Terms {
    key: Arc<Key>,
    class: Class,
    expires: Option<Timestamp>,
}

/// Why a request is not let in.
#[derive(Clone, Debug, PartialEq)]
pub enum Denial {
    /// No key, or one that is not known.
    Unknown,
    /// A key that has expired.
    Expired {
        /// Name of the key.
        key: String,
    },
    /// A key that is over one of its limits.
    Limited {
        /// Name of the key.
        key: String,
        /// The limit.
        refusal: Refusal,
        /// What is left of the limits.
        standing: Standing,
    },
}

/// The keys that `unnamed` and a file give, and the file to watch, if there is one.
pub fn open(unnamed: &[String], path: Option<&Path>) -> Result<(Keyring, Option<KeysFile>), KeysError> {
    let mut keyring = Keyring::new(unnamed);
    let Some(path) = path else { return Ok((keyring, None)) };
    let (file, entries) = KeysFile::open(path)?;
    keyring.has_file = true;
    keyring.replace(entries, Instant::now());
    Ok((keyring, Some(file)))
}

impl Keyring {
    /// Keys without names. An empty key, which an unset variable in a compose file produces, is dropped: no client
    /// could send it.
    fn new(unnamed: &[String]) -> Self {
        let keys = unnamed.iter().map(|key| key.trim()).filter(|key| !key.is_empty());
        Self { unnamed: keys.map(KeyDigest::of).collect(), has_file: false, named: RwLock::default() }
    }

    /// Exchanges the keys of the file. A key whose name was there before keeps its account; requests of a key that is
    /// gone go on.
    pub fn replace(&self, entries: Vec<KeyEntry>, now: Instant) {
        let before = self.named();
        let known: HashMap<&str, &Arc<Key>> = before.by_digest.values().map(|at| (at.key.name(), &at.key)).collect();
        let terms = |KeyEntry { name, digest, limits, class, expires }: KeyEntry| {
            let key = match known.get(name.as_str()) {
                Some(&key) => {
                    key.account().set_limits(limits, now);
                    key.clone()
                }
                None => Arc::new(Key::new(name, Account::new(limits, now))),
            };
            (digest, Terms { key, class, expires })
        };
        let after = Arc::new(Named { by_digest: entries.into_iter().map(terms).collect() });
        *self.named.write().unwrap_or_else(PoisonError::into_inner) = after;
    }

    /// Lets a request in that sent a key, or says why not. `clock` is the time of day.
    pub fn admit(&self, sent: Option<&str>, cost: Cost, now: Instant, clock: Timestamp) -> Result<Caller, Denial> {
        if self.is_open() {
            return Ok(Caller::default());
        }
        let digest = KeyDigest::of(sent.ok_or(Denial::Unknown)?);
        let named = self.named();
        match named.by_digest.get(&digest) {
            Some(terms) => terms.admit(cost, now, clock),
            None if self.unnamed.contains(&digest) => Ok(Caller::default()),
            None => Err(Denial::Unknown),
        }
    }

    /// Whether no key is asked for.
    fn is_open(&self) -> bool {
        self.unnamed.is_empty() && !self.has_file
    }

    /// Number of keys.
    pub fn count(&self) -> usize {
        self.unnamed.len() + self.named().by_digest.len()
    }

    /// Sums of each named key, in no order.
    pub fn figures(&self) -> Vec<KeyFigures> {
        let figures = |terms: &Terms| KeyFigures {
            name: terms.key.name().to_owned(),
            usage: terms.key.account().usage().clone(),
        };
        self.named().by_digest.values().map(figures).collect()
    }

    fn named(&self) -> Arc<Named> {
        self.named.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Terms {
    fn admit(&self, cost: Cost, now: Instant, clock: Timestamp) -> Result<Caller, Denial> {
        let mut account = self.key.account();
        if self.expires.is_some_and(|expires| expires <= clock) {
            account.refused(Reason::Expired);
            return Err(Denial::Expired { key: self.name() });
        }
        if cost == Cost::Nothing {
            return Ok(Caller::default());
        }
        let taken = account.request(cost, now);
        taken.map_err(|refusal| Denial::Limited { key: self.name(), refusal, standing: account.standing(now) })?;
        Ok(Caller::new(self.key.clone(), self.class))
    }

    fn name(&self) -> String {
        self.key.name().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{entry::Limits, usage::Outcome};

    fn entry(name: &str, key: &str, requests_per_minute: Option<u32>) -> KeyEntry {
        KeyEntry {
            name: name.to_owned(),
            digest: KeyDigest::of(key),
            limits: Limits { requests_per_minute, ..Limits::default() },
            class: Class::Interactive,
            expires: None,
        }
    }

    fn with(unnamed: &[&str], entries: Vec<KeyEntry>) -> Keyring {
        let unnamed: Vec<String> = unnamed.iter().map(|key| (*key).to_owned()).collect();
        let keyring = Keyring { has_file: true, ..Keyring::new(&unnamed) };
        keyring.replace(entries, Instant::now());
        keyring
    }

    fn admit(keyring: &Keyring, key: &str) -> Result<Caller, Denial> {
        keyring.admit(Some(key), Cost::Request, Instant::now(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn without_keys_everybody_is_let_in_and_with_a_file_nobody_without_one() {
        let open = Keyring::new(&["".to_owned(), " ".to_owned()]);
        assert!(open.is_open() && admit(&open, "x").is_ok());
        assert!(open.admit(None, Cost::Answers, Instant::now(), Timestamp::UNIX_EPOCH).is_ok());
        let one = Keyring::new(&[" b ".to_owned()]);
        assert!(admit(&one, "b").is_ok());
        assert_eq!(admit(&one, " b ").unwrap_err(), Denial::Unknown);
        let empty = with(&[], Vec::new());
        assert_eq!((admit(&empty, "x").unwrap_err(), empty.count()), (Denial::Unknown, 0));
    }

    #[test]
    fn named_and_unnamed_keys_open_together() {
        let keyring = with(&["plain"], vec![entry("a", "ka", Some(1)), entry("b", "kb", None)]);
        assert_eq!(keyring.count(), 3);
        admit(&keyring, "plain").unwrap();
        admit(&keyring, "ka").unwrap();
        assert!(matches!(admit(&keyring, "ka"), Err(Denial::Limited { .. })));
        admit(&keyring, "kb").unwrap();
        assert_eq!(admit(&keyring, "a").unwrap_err(), Denial::Unknown, "a name is no key");
        let looks = keyring.admit(Some("ka"), Cost::Nothing, Instant::now(), Timestamp::UNIX_EPOCH);
        assert!(looks.is_ok(), "a look costs nothing");
        let mut figures = keyring.figures();
        figures.sort_by(|one, other| one.name.cmp(&other.name));
        let seen: Vec<_> = figures
            .iter()
            .map(|key| (key.name.as_str(), key.usage.requests(Outcome::Abort), key.usage.refusals(Reason::Requests)))
            .collect();
        assert_eq!(seen, [("a", 1, 1), ("b", 1, 0)]);
    }

    #[test]
    fn a_key_ends_when_it_expires() {
        let expires = Timestamp::from_second(100).unwrap();
        let keyring = with(&[], vec![KeyEntry { expires: Some(expires), ..entry("a", "ka", None) }]);
        let at = |second| {
            let clock = Timestamp::from_second(second).unwrap();
            keyring.admit(Some("ka"), Cost::Nothing, Instant::now(), clock).map(|_| ())
        };
        assert_eq!((at(99), at(100)), (Ok(()), Err(Denial::Expired { key: "a".to_owned() })));
        assert_eq!(keyring.figures()[0].usage.refusals(Reason::Expired), 1);
    }

    #[test]
    fn an_exchanged_key_keeps_its_account_by_name() {
        let keyring = with(&[], vec![entry("a", "old", Some(1)), entry("b", "kb", None)]);
        let running = admit(&keyring, "old").unwrap();
        keyring.replace(vec![entry("a", "new", Some(1)), entry("c", "kc", None)], Instant::now());
        assert_eq!(admit(&keyring, "old").unwrap_err(), Denial::Unknown);
        assert!(
            matches!(admit(&keyring, "new"), Err(Denial::Limited { .. })),
            "it is the same key under another secret"
        );
        assert_eq!(admit(&keyring, "kb").unwrap_err(), Denial::Unknown);
        admit(&keyring, "kc").unwrap();
        running.responded(200);
        drop(running);
        let figures = keyring.figures();
        let a = figures.iter().find(|key| key.name == "a").unwrap();
        assert_eq!(a.usage.requests(Outcome::Ok), 1);
    }
}
