//! Methods of Python's `str`.

use minijinja::{
    Error, ErrorKind, Value,
    value::{Kwargs, Tuple, ValueKind, from_args},
};

use super::{error::refused, python};

/// Calls `method` of `text`; fails with `UnknownMethod` for a method that is not implemented here.
pub fn call(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    match method {
        "strip" | "lstrip" | "rstrip" => strip(text, method, args),
        "split" | "rsplit" => split(text, method == "rsplit", args),
        "partition" | "rpartition" => partition(text, method == "rpartition", args),
        "splitlines" => split_lines(text, args),
        "removeprefix" => one_text(args).map(|prefix| text.strip_prefix(prefix).unwrap_or(text).into()),
        "removesuffix" => one_text(args).map(|suffix| text.strip_suffix(suffix).unwrap_or(text).into()),
        "startswith" | "endswith" => borders(text, method == "endswith", args).map(Value::from),
        "find" | "rfind" | "index" | "rindex" => find(text, method, args),
        "count" => count(text, args),
        "join" => join(text, args),
        "center" | "ljust" | "rjust" => justify(text, method, args),
        "zfill" => zfill(text, args),
        "expandtabs" => expand_tabs(text, args),
        _ => recased(text, method, args).or_else(|error| match error.kind() {
            ErrorKind::UnknownMethod => asked(text, method, args).map(Value::from),
            _ => Err(error),
        }),
    }
}

fn one_text(args: &[Value]) -> Result<&str, Error> {
    from_args::<(&str,)>(args).map(|(text,)| text)
}

fn recased(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let recased = match method {
        "upper" => text.to_uppercase(),
        "lower" | "casefold" => text.to_lowercase(),
        "swapcase" => text.chars().map(swapped).collect(),
        "capitalize" => capitalized(text),
        "title" => titled(text, |last| !last.is_alphabetic()),
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    };
    from_args::<()>(args).map(|()| Value::from(recased))
}

fn swapped(character: char) -> String {
    if character.is_lowercase() { character.to_uppercase().collect() } else { character.to_lowercase().collect() }
}

/// The text with its first character in upper case and the others in lower case.
pub fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().collect::<String>() + &characters.as_str().to_lowercase()
    })
}

/// The text with each word capitalized; a word begins at the start and after a character for which `ends_word` holds.
pub fn titled(text: &str, ends_word: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut begins = true;
    for character in text.chars() {
        if begins {
            out.extend(character.to_uppercase());
        } else {
            out.extend(character.to_lowercase());
        }
        begins = ends_word(character);
    }
    out
}

/// The methods that return true or false.
fn asked(text: &str, method: &str, args: &[Value]) -> Result<bool, Error> {
    let all = |holds: fn(char) -> bool| !text.is_empty() && text.chars().all(holds);
    let has_case = |is_wanted: fn(char) -> bool, is_other: fn(char) -> bool| {
        text.chars().any(is_wanted) && !text.chars().any(is_other)
    };
    let answer = match method {
        "isspace" => all(python::is_space),
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isnumeric" => all(char::is_numeric),
        "isdecimal" => all(|character| character.is_numeric() && is_decimal(character)),
        "isdigit" => all(|character| is_decimal(character) || is_superscript(character)),
        "isascii" => text.is_ascii(),
        "islower" => has_case(char::is_lowercase, char::is_uppercase),
        "isupper" => has_case(char::is_uppercase, char::is_lowercase),
        "istitle" => text.chars().any(char::is_alphabetic) && titled(text, |last| !last.is_alphabetic()) == text,
        "isidentifier" => {
            all(|character| character == '_' || character.is_alphanumeric())
                && !text.starts_with(|first: char| first.is_numeric())
        }
        "isprintable" => !python::repr(&Value::from(text.replace(['\\', '\'', '"'], ""))).contains('\\'),
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    };
    from_args::<()>(args).map(|()| answer)
}

/// Whether the character is a decimal digit of a widely used script; fractions, Roman numerals and the like are numeric
/// without being decimal.
fn is_decimal(character: char) -> bool {
    let zeros = [
        0x30, 0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xE50, 0xED0, 0xF20, 0xFF10,
    ];
    zeros.iter().any(|zero| (*zero..zero + 10).contains(&(character as u32)))
}

fn is_superscript(character: char) -> bool {
    matches!(character, '\u{B2}' | '\u{B3}' | '\u{B9}' | '\u{2070}' | '\u{2074}'..='\u{2079}' | '\u{2080}'..='\u{2089}')
}

fn strip(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (given,): (Option<&str>,) = from_args(args)?;
    let is_cut = |character: char| match given {
        Some(set) => set.contains(character),
        None => python::is_space(character),
    };
    let cut = match method {
        "lstrip" => text.trim_start_matches(is_cut),
        "rstrip" => text.trim_end_matches(is_cut),
        _ => text.trim_matches(is_cut),
    };
    Ok(cut.into())
}

fn split(text: &str, from_the_end: bool, args: &[Value]) -> Result<Value, Error> {
    let (separator, most, named): (Option<Value>, Option<i64>, Kwargs) = from_args(args)?;
    let separator = match separator {
        Some(separator) => Some(separator),
        None => named.get::<Option<Value>>("sep")?,
    };
    let most = match most {
        Some(most) => Some(most),
        None => named.get::<Option<i64>>("maxsplit")?,
    };
    named.assert_all_used()?;
    let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    let pieces: Vec<&str> = match separator.filter(|separator| !separator.is_none()) {
        None => split_spaces(text, most, from_the_end),
        Some(separator) => {
            let separator = separator.as_str().ok_or_else(|| refused("split: the separator must be a string"))?;
            if separator.is_empty() {
                return Err(refused("split: the separator must not be empty"));
            }
            let pieces = most.saturating_add(1);
            if from_the_end {
                let mut pieces: Vec<&str> = text.rsplitn(pieces, separator).collect();
                pieces.reverse();
                pieces
            } else {
                text.splitn(pieces, separator).collect()
            }
        }
    };
    Ok(Value::from_iter(pieces))
}

/// Splits at runs of whitespace; the last piece, after `most` cuts, keeps its inner whitespace and that at its far end.
fn split_spaces<'a>(text: &'a str, most: usize, from_the_end: bool) -> Vec<&'a str> {
    let mut pieces = Vec::new();
    let trimmed = |text: &'a str| {
        if from_the_end { text.trim_end_matches(python::is_space) } else { text.trim_start_matches(python::is_space) }
    };
    let mut rest = trimmed(text);
    while !rest.is_empty() {
        let cut = if from_the_end { rest.rfind(python::is_space) } else { rest.find(python::is_space) };
        let (Some(at), true) = (cut, pieces.len() < most) else {
            pieces.push(rest);
            break;
        };
        let width = rest[at..].chars().next().map_or(1, char::len_utf8);
        let (piece, others) =
            if from_the_end { (&rest[at + width..], &rest[..at]) } else { (&rest[..at], &rest[at + width..]) };
        pieces.push(piece);
        rest = trimmed(others);
    }
    if from_the_end {
        pieces.reverse();
    }
    pieces
}

fn partition(text: &str, from_the_end: bool, args: &[Value]) -> Result<Value, Error> {
    let separator = one_text(args)?;
    let cut = if from_the_end { text.rsplit_once(separator) } else { text.split_once(separator) };
    let parts = match cut {
        Some((before, after)) => [before, separator, after],
        None if from_the_end => ["", "", text],
        None => [text, "", ""],
    };
    Ok(Value::from(Tuple::from(parts.map(Value::from))))
}

fn split_lines(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (keeps_ends, named): (Option<bool>, Kwargs) = from_args(args)?;
    let keeps_ends = keeps_ends.or(named.get::<Option<bool>>("keepends")?).unwrap_or(false);
    named.assert_all_used()?;
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(is_line_end).unwrap_or(rest.len());
        let after =
            if rest[end..].starts_with("\r\n") { 2 } else { rest[end..].chars().next().map_or(0, char::len_utf8) };
        lines.push(&rest[..if keeps_ends { end + after } else { end }]);
        rest = &rest[end + after..];
    }
    Ok(Value::from_iter(lines))
}

fn is_line_end(character: char) -> bool {
    matches!(character, '\n' | '\r' | '\u{B}' | '\u{C}' | '\u{1C}'..='\u{1E}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// The part of `text` between two positions, counted in characters as in Python, and its start.
fn section(text: &str, start: Option<i64>, end: Option<i64>) -> (&str, usize) {
    let length = text.chars().count() as i64;
    let position = |given: i64| (if given < 0 { given + length } else { given }).clamp(0, length) as usize;
    let (start, end) = (position(start.unwrap_or(0)), position(end.unwrap_or(length)));
    let byte = |position: usize| text.char_indices().nth(position).map_or(text.len(), |(at, _)| at);
    (if start <= end { &text[byte(start)..byte(end)] } else { "" }, start)
}

fn borders(text: &str, at_the_end: bool, args: &[Value]) -> Result<bool, Error> {
    let (wanted, start, end): (&Value, Option<i64>, Option<i64>) = from_args(args)?;
    let (text, _) = section(text, start, end);
    let holds = |wanted: &Value| match wanted.as_str() {
        Some(wanted) => Ok(if at_the_end { text.ends_with(wanted) } else { text.starts_with(wanted) }),
        None => Err(refused("startswith and endswith take a string or a tuple of strings")),
    };
    match wanted.kind() {
        ValueKind::Seq => {
            for one in wanted.try_iter()? {
                if holds(&one)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        _ => holds(wanted),
    }
}

fn find(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (wanted, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
    let (text, before) = section(text, start, end);
    let found = if method.starts_with('r') { text.rfind(wanted) } else { text.find(wanted) };
    match found {
        Some(at) => Ok(Value::from(before + text[..at].chars().count())),
        None if method.ends_with("find") => Ok(Value::from(-1)),
        None => Err(refused("substring not found")),
    }
}

fn count(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (wanted, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
    Ok(Value::from(section(text, start, end).0.matches(wanted).count()))
}

fn join(separator: &str, args: &[Value]) -> Result<Value, Error> {
    let (items,): (&Value,) = from_args(args)?;
    let mut out = String::new();
    for (index, item) in items.try_iter()?.enumerate() {
        let text = item.as_str().ok_or_else(|| refused(format!("join: item {index} is no string")))?;
        if index > 0 {
            out.push_str(separator);
        }
        out.push_str(text);
    }
    Ok(Value::from(out))
}

/// Widest field, which bounds the memory that a template can fill; no real template asks for more.
const WIDTH_MAX: usize = 1 << 16;

/// Number of characters by which `text` is shorter than `width`.
fn lacking(text: &str, width: i64) -> usize {
    usize::try_from(width).unwrap_or(0).min(WIDTH_MAX).saturating_sub(text.chars().count())
}

fn justify(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (width, filler): (i64, Option<char>) = from_args(args)?;
    let lacking = lacking(text, width);
    let before = match method {
        "ljust" => 0,
        "rjust" => lacking,
        // Python's rule for an odd number of filler characters.
        _ => lacking / 2 + (lacking & width as usize & 1),
    };
    let fill = |count: usize| String::from(filler.unwrap_or(' ')).repeat(count);
    Ok(Value::from(fill(before) + text + &fill(lacking - before)))
}

fn zfill(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (width,): (i64,) = from_args(args)?;
    let digits = text.trim_start_matches(['+', '-']);
    let sign = if text.len() - digits.len() == 1 { &text[..1] } else { "" };
    Ok(Value::from(format!("{sign}{}{}", "0".repeat(lacking(text, width)), &text[sign.len()..])))
}

fn expand_tabs(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (size,): (Option<usize>,) = from_args(args)?;
    let size = size.unwrap_or(8).min(WIDTH_MAX);
    let mut out = String::new();
    let mut column = 0;
    for character in text.chars() {
        match character {
            '\t' if size > 0 => {
                let spaces = size - column % size;
                out.push_str(&" ".repeat(spaces));
                column += spaces;
            }
            '\t' => {}
            _ => {
                out.push(character);
                column = if matches!(character, '\n' | '\r') { 0 } else { column + 1 };
            }
        }
    }
    Ok(Value::from(out))
}
