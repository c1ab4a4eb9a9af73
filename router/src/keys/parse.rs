//! The text of a file of keys, validated whole, so that every mistake is named at once. Plain data.
//!
//! No message quotes a value, since somebody may have put a key where its digest belongs.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    ops::Range,
};

use jiff::Timestamp;
use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::{
    digest::KeyDigest,
    entry::{KeyEntry, Limits, NAME_RULE, is_name},
};
use crate::request::Class;

/// Most keys: each has series of its own in the metrics.
const KEYS_MAX: usize = 1_000;
/// Most mistakes that one message names.
const NAMED_MAX: usize = 20;
const FIELDS: [&str; 7] =
    ["name", "sha256", "requests_per_minute", "tokens_per_minute", "concurrency", "priority", "expires"];
/// Most characters of an unknown field that a message quotes; a key is longer.
const FIELD_CHARS_MAX: usize = 24;

/// The mistakes in a file, in its order.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistakes(Vec<Mistake>);

/// One mistake, and where it is.
#[derive(Debug, PartialEq, Eq)]
struct Mistake {
    /// Line from 1; 0 if it is about the whole file.
    line: usize,
    what: String,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().take(NAMED_MAX).enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            match mistake.line {
                0 => write!(out, "{separator}{}", mistake.what)?,
                line => write!(out, "{separator}line {line}: {}", mistake.what)?,
            }
        }
        match self.0.len().saturating_sub(NAMED_MAX) {
            0 => Ok(()),
            more => write!(out, "; and {more} more"),
        }
    }
}

/// Reads and validates the text of a file.
pub fn parse(text: &str) -> Result<Vec<KeyEntry>, Mistakes> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(0, |span| line_of(text, &span));
        Mistakes(vec![Mistake { line, what: error.message().to_owned() }])
    })?;
    let mut reader = Reader { text, mistakes: Vec::new() };
    let entries = reader.document(table.get_ref());
    reader.check_unique(&entries);
    let Reader { mut mistakes, .. } = reader;
    if mistakes.is_empty() {
        return Ok(entries.into_iter().map(|(_, entry)| entry).collect());
    }
    mistakes.sort_by_key(|mistake| mistake.line);
    Err(Mistakes(mistakes))
}

/// Line of a place in the text, from 1.
fn line_of(text: &str, span: &Range<usize>) -> usize {
    1 + text.as_bytes().iter().take(span.start).filter(|byte| **byte == b'\n').count()
}

/// A key, and where its table begins.
type Placed = (Range<usize>, KeyEntry);

struct Reader<'a> {
    text: &'a str,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    fn mistake(&mut self, span: &Range<usize>, what: impl Into<String>) {
        self.mistakes.push(Mistake { line: line_of(self.text, span), what: what.into() });
    }

    fn document(&mut self, table: &DeTable<'_>) -> Vec<Placed> {
        let mut entries = Vec::new();
        for (key, value) in table {
            match (text_of(key), value.get_ref().as_array()) {
                ("key", Some(keys)) if keys.len() > KEYS_MAX => {
                    self.mistake(&value.span(), format!("there are {} keys; at most {KEYS_MAX} may be", keys.len()));
                }
                ("key", Some(keys)) => entries = keys.iter().filter_map(|key| self.key(key)).collect(),
                ("key", None) => self.mistake(&key.span(), "keys are written as [[key]], with two brackets"),
                (name, _) => self.mistake(&key.span(), format!("{} is not known here; known: [[key]]", quoted(name))),
            }
        }
        // A file that is being written may be empty for a moment, which must not shut everybody out.
        if entries.is_empty() && self.mistakes.is_empty() {
            self.mistakes.push(Mistake { line: 0, what: "there is no [[key]]".to_owned() });
        }
        entries
    }

    /// Reads one key; what is wrong is noted, and `None` returned.
    fn key(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Placed> {
        let span = value.span();
        let Some(table) = value.get_ref().as_table() else {
            self.mistake(&span, "keys are written as [[key]], with two brackets");
            return None;
        };
        let noted = self.mistakes.len();
        let mut fields = Fields { whose: whose(table), reader: self, table };
        fields.refuse_unknown();
        let (name, digest) = (fields.name(&span), fields.digest(&span));
        let limits = Limits {
            requests_per_minute: fields.number("requests_per_minute", 1_000_000),
            tokens_per_minute: fields.number("tokens_per_minute", 1_000_000_000),
            concurrency: fields.number("concurrency", 100_000),
        };
        let (class, expires) = (fields.class(), fields.expires());
        let is_right = self.mistakes.len() == noted;
        let entry = KeyEntry { name: name?, digest: digest?, limits, class, expires };
        is_right.then_some((span, entry))
    }

    fn check_unique(&mut self, entries: &[Placed]) {
        let (mut names, mut digests) = (HashSet::new(), HashMap::new());
        for (span, entry) in entries {
            if !names.insert(&entry.name) {
                self.mistake(span, format!("key {}: another key has this name", entry.name));
            }
            if let Some(other) = digests.insert(entry.digest, &entry.name) {
                self.mistake(span, format!("key {}: sha256 is that of key {other}", entry.name));
            }
        }
    }
}

fn text_of<'a>(key: &'a Spanned<DeString<'_>>) -> &'a str {
    key.get_ref()
}

/// The key of a table in messages: by its name, if it has a right one.
fn whose(table: &DeTable<'_>) -> String {
    let name = table.iter().find(|(field, _)| text_of(field) == "name");
    match name.and_then(|(_, value)| value.get_ref().as_str()).filter(|name| is_name(name)) {
        Some(name) => format!("key {name}"),
        None => "a key".to_owned(),
    }
}

/// An unknown name in quotes, unless it looks like something that should not be shown.
fn quoted(name: &str) -> String {
    let is_plain = |char: char| char.is_ascii_alphabetic() || char == '_';
    if name.len() <= FIELD_CHARS_MAX && name.chars().all(is_plain) { format!("`{name}`") } else { "a field".to_owned() }
}

/// The fields of one key.
struct Fields<'r, 'a, 'v> {
    whose: String,
    reader: &'r mut Reader<'a>,
    table: &'v DeTable<'v>,
}

impl<'v> Fields<'_, '_, 'v> {
    fn get(&self, field: &str) -> Option<&'v Spanned<DeValue<'v>>> {
        self.table.iter().find(|(key, _)| text_of(key) == field).map(|(_, value)| value)
    }

    fn mistake(&mut self, span: &Range<usize>, what: impl fmt::Display) {
        let what = format!("{}: {what}", self.whose);
        self.reader.mistake(span, what);
    }

    fn refuse_unknown(&mut self) {
        let table = self.table;
        for (field, _) in table.iter().filter(|(field, _)| !FIELDS.contains(&text_of(field))) {
            let known = FIELDS.join(", ");
            self.mistake(&field.span(), format!("{} is not known; known: {known}", quoted(text_of(field))));
        }
    }

    /// The value of `field` as `read` takes it; `rule` says in messages what it must be.
    fn read<T>(&mut self, field: &str, rule: &str, read: impl Fn(&DeValue<'v>) -> Option<T>) -> Option<T> {
        let value = self.get(field)?;
        let found = read(value.get_ref());
        if found.is_none() {
            self.mistake(&value.span(), format!("{field} must be {rule}"));
        }
        found
    }

    fn name(&mut self, span: &Range<usize>) -> Option<String> {
        if self.get("name").is_none() {
            self.mistake(span, "name is missing");
        }
        self.read("name", NAME_RULE, |value| value.as_str().filter(|name| is_name(name)).map(str::to_owned))
    }

    fn digest(&mut self, span: &Range<usize>) -> Option<KeyDigest> {
        if self.get("sha256").is_none() {
            self.mistake(span, "sha256 is missing; `secateur key new NAME` makes a key and its digest");
        }
        self.read("sha256", "the SHA-256 of the key, as 64 hex digits", |value| KeyDigest::from_hex(value.as_str()?))
    }

    fn number(&mut self, field: &str, most: u32) -> Option<u32> {
        self.read(field, &format!("a whole number from 1 to {most}"), |value| {
            let number = value.as_integer()?;
            let number = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
            u32::try_from(number).ok().filter(|number| (1..=most).contains(number))
        })
    }

    fn class(&mut self) -> Class {
        let class = self.read("priority", "\"interactive\" or \"batch\"", |value| Class::parse(value.as_str()?));
        class.unwrap_or_default()
    }

    fn expires(&mut self) -> Option<Timestamp> {
        self.read("expires", "a time with its zone, such as \"2027-01-01T00:00:00Z\"", |value| match value {
            DeValue::String(text) => text.parse().ok(),
            DeValue::Datetime(time) => time.to_string().parse().ok(),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stanza(name: &str, key: &str, more: &str) -> String {
        format!("[[key]]\nname = \"{name}\"\nsha256 = \"{}\"\n{more}\n", KeyDigest::of(key).to_hex())
    }

    fn mistakes(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn keys_are_read_with_their_limits() {
        let all = "requests_per_minute = 600\ntokens_per_minute = 100_000\nconcurrency = 16\npriority = \"batch\"\n\
                   expires = \"2027-01-01T00:00:00Z\"";
        let text = format!(
            "# Keys\n{}{}",
            stanza("batch-jobs", "k1", all),
            stanza("b", "k2", "expires = 2027-01-01T01:00:00+01:00")
        );
        let entries = parse(&text).unwrap();
        let expires = "2027-01-01T00:00:00Z".parse().ok();
        let limits = Limits { requests_per_minute: Some(600), tokens_per_minute: Some(100_000), concurrency: Some(16) };
        let batch = KeyEntry {
            name: "batch-jobs".to_owned(),
            digest: KeyDigest::of("k1"),
            limits,
            class: Class::Batch,
            expires,
        };
        assert_eq!(entries[0], batch);
        assert_eq!((entries[1].limits, entries[1].class), (Limits::default(), Class::Interactive));
        assert_eq!(entries[1].expires, expires);
    }

    #[test]
    fn every_mistake_is_named_with_its_key_line_and_field() {
        for (text, expected) in [
            ("", "there is no [[key]]"),
            ("key = []\n", "there is no [[key]]"),
            ("[key]\nname = \"a\"\n", "line 1: keys are written as [[key]]"),
            ("key = [1]\n", "line 1: keys are written as [[key]]"),
            ("[[keys]]\n", "line 1: `keys` is not known here"),
            ("[[key]]\n", "line 1: a key: name is missing"),
            ("\n[[key]]\nname = \"a b\"\n", "line 3: a key: name must be 1 to 64 letters"),
            ("[[key]]\nname = \"a\"\n", "line 1: key a: sha256 is missing; `secateur key new"),
            ("[[key]]\nname = \"a\"\nsha256 = \"sk-123\"\n", "line 3: key a: sha256 must be the SHA-256"),
            (&stanza("a", "k", "requests_per_minute = 0"), "line 4: key a: requests_per_minute must be a whole number"),
            (&stanza("a", "k", "tokens_per_minute = 2e9"), "line 4: key a: tokens_per_minute must be a whole number"),
            (&stanza("a", "k", "concurrency = 100001"), "key a: concurrency must be a whole number from 1 to 100000"),
            (&stanza("a", "k", "priority = \"high\""), "key a: priority must be \"interactive\" or \"batch\""),
            (&stanza("a", "k", "expires = \"2027-01-01\""), "key a: expires must be a time with its zone"),
            (&stanza("a", "k", "expires = 2027-01-01T00:00:00"), "key a: expires must be a time with its zone"),
            (&stanza("a", "k", "expired = true"), "line 4: key a: `expired` is not known; known: name, sha256"),
            (&(stanza("a", "k", "") + &stanza("a", "l", "")), "line 5: key a: another key has this name"),
            (&(stanza("a", "k", "") + &stanza("b", "k", "")), "line 5: key b: sha256 is that of key a"),
        ] {
            let found = mistakes(text);
            assert!(found.contains(expected), "{text}: {found}");
        }
    }

    #[test]
    fn all_mistakes_are_named_at_once_in_the_order_of_the_file() {
        let text = stanza("a", "k", "priority = 1\nconcurrency = -1") + &stanza("b", "l", "x = 1");
        let found = mistakes(&text);
        let places: Vec<_> = ["line 4: key a: priority", "line 5: key a: concurrency", "line 9: key b: `x`"]
            .map(|part| found.find(part))
            .into_iter()
            .collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{found}");
        let many = (0..50).map(|number| stanza(&format!("k{number}"), &number.to_string(), "x = 1"));
        assert!(mistakes(&many.collect::<String>()).ends_with("; and 30 more"));
        let many: String =
            (0..=KEYS_MAX).map(|number| stanza(&format!("k{number}"), &number.to_string(), "")).collect();
        assert!(mistakes(&many).contains("there are 1001 keys"));
    }

    #[test]
    fn what_may_be_a_key_is_not_quoted() {
        let secret = "sk-0123456789abcdef0123456789abcdef";
        for text in [
            format!("[[key]]\nname = \"a\"\nsha256 = \"{secret}\"\n"),
            stanza("a", "k", &format!("priority = \"{secret}\"")),
            stanza("a", "k", &format!("expires = \"{secret}\"")),
            stanza("a", "k", &format!("concurrency = \"{secret}\"")),
            stanza("a", "k", &format!("{secret} = 1")),
            stanza(&format!("{secret} {secret}"), "k", ""),
            format!("{secret} = 1\n"),
            format!("[[key]]\nname = \"a\"\nsha256 = {secret}\n"),
        ] {
            assert!(!mistakes(&text).contains("0123456789"), "{text}: {}", mistakes(&text));
        }
    }
}
