//! Filters that lay out or mark up text.

use minijinja::{
    Environment, Error, Value,
    value::{Kwargs, Rest, ValueKind},
};

use super::super::{arguments::arguments, error::wrong, python};

/// Widest field, which bounds the memory that a template can fill; no real template asks for more.
const WIDTH_MAX: usize = 1 << 16;

/// Adds the filters to `environment`.
pub fn add(environment: &mut Environment<'_>) {
    environment.add_filter("center", center);
    environment.add_filter("forceescape", |value: &Value| Value::from_safe_string(escaped(&python::text(value))));
    environment.add_filter("escape", escape);
    environment.add_filter("e", escape);
    environment.add_filter("indent", indent);
    environment.add_filter("truncate", truncate);
    environment.add_filter("wordcount", |value: &Value| words(&python::text(value)).count());
    environment.add_filter("wordwrap", wordwrap);
    environment.add_filter("striptags", |value: &Value| striptags(&python::text(value)));
    environment.add_filter("urlencode", urlencode);
    environment.add_filter("filesizeformat", filesizeformat);
    environment.add_filter("xmlattr", xmlattr);
}

fn number(value: Option<Value>, filter: &str, default: usize) -> Result<usize, Error> {
    match value {
        None => Ok(default),
        Some(value) => usize::try_from(value)
            .map(|number| number.min(WIDTH_MAX))
            .map_err(|_| wrong(filter, "a length must be a whole number")),
    }
}

fn is_true(value: Option<Value>, default: bool) -> bool {
    value.map_or(default, |value| value.is_true())
}

fn center(value: &Value, given: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    let [width] = arguments(["width"], given, &named)?;
    let text = python::text(value);
    let width = number(width, "center", 80)?;
    let lacking = width.saturating_sub(text.chars().count());
    let before = lacking / 2 + (lacking & width & 1);
    Ok(" ".repeat(before) + &text + &" ".repeat(lacking - before))
}

fn escape(value: &Value) -> Value {
    if value.is_safe() { value.clone() } else { Value::from_safe_string(escaped(&python::text(value))) }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(character),
        }
    }
    out
}

fn indent(value: &Value, given: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    let [width, first, blank] = arguments(["width", "first", "blank"], given, &named)?;
    let margin = match width.as_ref().and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None => " ".repeat(number(width, "indent", 4)?),
    };
    let (first, blank) = (is_true(first, false), is_true(blank, false));
    // As in Jinja, line ends are normalized and a final line end is kept.
    let text = python::text(value).into_owned() + "\n";
    let mut lines = text.lines();
    let mut out = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        out.push('\n');
        if blank || !line.is_empty() {
            out.push_str(&margin);
        }
        out.push_str(line);
    }
    Ok(if first { margin + &out } else { out })
}

fn truncate(value: &Value, given: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    let [length, kills_words, end, leeway] = arguments(["length", "killwords", "end", "leeway"], given, &named)?;
    let (length, leeway) = (number(length, "truncate", 255)?, number(leeway, "truncate", 5)?);
    let end = end.map_or_else(|| "...".to_owned(), |end| python::text(&end).into_owned());
    let text = python::text(value);
    if text.chars().count() <= length + leeway {
        return Ok(text.into_owned());
    }
    let kept: String = text.chars().take(length.saturating_sub(end.chars().count())).collect();
    let kept = if is_true(kills_words, false) { &kept } else { kept.rsplit_once(' ').map_or(&*kept, |(kept, _)| kept) };
    Ok(format!("{kept}{end}"))
}

/// The words of `text`: its runs of word characters.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_alphanumeric() && character != '_').filter(|word| !word.is_empty())
}

fn wordwrap(value: &Value, given: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    let names = ["width", "break_long_words", "wrapstring", "break_on_hyphens"];
    let [width, breaks_long, between, breaks_hyphens] = arguments(names, given, &named)?;
    let width = number(width, "wordwrap", 79)?;
    if width == 0 {
        return Err(wrong("wordwrap", "width must be at least 1"));
    }
    let between = between.map_or_else(|| "\n".to_owned(), |between| python::text(&between).into_owned());
    let (breaks_long, breaks_hyphens) = (is_true(breaks_long, true), is_true(breaks_hyphens, true));
    let text = python::text(value);
    let wrapped = text.lines().map(|line| wrap(line, width, breaks_long, breaks_hyphens).join(&between));
    Ok(wrapped.collect::<Vec<_>>().join(&between))
}

/// Wraps a line to at most `width` characters, like Python's `textwrap` with whitespace unchanged.
fn wrap(line: &str, width: usize, breaks_long: bool, breaks_hyphens: bool) -> Vec<String> {
    let mut chunks: std::collections::VecDeque<String> = chunks(line, breaks_hyphens).into();
    let mut lines = Vec::new();
    while !chunks.is_empty() {
        if !lines.is_empty() && chunks.front().is_some_and(|chunk| chunk.trim().is_empty()) {
            chunks.pop_front();
        }
        let (mut current, mut length) = (Vec::new(), 0);
        while let Some(chunk) = chunks.front() {
            let size = chunk.chars().count();
            if length + size > width {
                break;
            }
            length += size;
            current.extend(chunks.pop_front());
        }
        if let Some(chunk) = chunks.front_mut()
            && chunk.chars().count() > width
        {
            if breaks_long {
                let room = width.saturating_sub(length).max(1);
                let cut = chunk.char_indices().nth(room).map_or(chunk.len(), |(at, _)| at);
                let rest = chunk.split_off(cut);
                current.push(std::mem::replace(chunk, rest));
            } else if current.is_empty() {
                current.extend(chunks.pop_front());
            }
        }
        if current.last().is_some_and(|chunk| chunk.trim().is_empty()) {
            current.pop();
        }
        if !current.is_empty() {
            lines.push(current.concat());
        }
    }
    lines
}

/// The words of `line` and the whitespace between them; hyphenated words are cut after each hyphen if `breaks_hyphens`.
fn chunks(line: &str, breaks_hyphens: bool) -> Vec<String> {
    let mut chunks: Vec<String> = Vec::new();
    let mut last: Option<char> = None;
    for character in line.chars() {
        let is_space = character.is_whitespace();
        let begins = match last {
            None => true,
            Some(last) => {
                last.is_whitespace() != is_space || (breaks_hyphens && last == '-' && character.is_alphabetic())
            }
        };
        match chunks.last_mut() {
            Some(chunk) if !begins => chunk.push(character),
            _ => chunks.push(character.into()),
        }
        last = Some(character);
    }
    chunks
}

fn striptags(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        out.push_str(&rest[..start]);
        let close = if rest[start..].starts_with("<!--") { "-->" } else { ">" };
        let Some(end) = rest[start..].find(close) else {
            rest = &rest[start..];
            break;
        };
        rest = &rest[start + end + close.len()..];
    }
    out.push_str(rest);
    let spaced = out.split(python::is_space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#34;", "\""), ("&#39;", "'"), ("&amp;", "&")]
        .iter()
        .fold(spaced, |text, (entity, character)| text.replace(entity, character))
}

fn urlencode(value: &Value) -> Result<String, Error> {
    let encoded = |value: &Value, is_query: bool| quoted(&python::text(value), is_query);
    let pair = |key: &Value, value: &Value| format!("{}={}", encoded(key, true), encoded(value, true));
    match value.kind() {
        ValueKind::Map => {
            let keys: Vec<Value> = value.try_iter()?.collect();
            let pairs: Result<Vec<_>, Error> = keys.iter().map(|key| Ok(pair(key, &value.get_item(key)?))).collect();
            Ok(pairs?.join("&"))
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let pairs: Result<Vec<_>, Error> = value
                .try_iter()?
                .map(|item| Ok(pair(&item.get_item(&0.into())?, &item.get_item(&1.into())?)))
                .collect();
            Ok(pairs?.join("&"))
        }
        _ => Ok(encoded(value, false)),
    }
}

fn quoted(text: &str, is_query: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' if is_query => out.push('+'),
            b'/' if !is_query => out.push('/'),
            _ if byte.is_ascii_alphanumeric() || b"_.-~".contains(&byte) => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn filesizeformat(value: &Value, given: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    let [binary] = arguments(["binary"], given, &named)?;
    let bytes = python::text(value).parse::<f64>().map_err(|_| wrong("filesizeformat", "takes a number"))?;
    let (base, suffix) = if is_true(binary, false) { (1024.0, "iB") } else { (1000.0, "B") };
    if bytes == 1.0 {
        return Ok("1 Byte".into());
    }
    if bytes < base {
        return Ok(format!("{} Bytes", bytes as i64));
    }
    let prefixes = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
    let power = prefixes.iter().zip(1..).take_while(|(_, power)| bytes >= base.powi(*power)).count().max(1);
    let prefix = if base == 1024.0 { prefixes[power - 1].to_uppercase() } else { prefixes[power - 1].to_owned() };
    Ok(format!("{:.1} {prefix}{suffix}", bytes / base.powi(power as i32)))
}

fn xmlattr(value: &Value, given: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    let [spaced] = arguments(["autospace"], given, &named)?;
    let mut out = String::new();
    for key in value.try_iter()? {
        let attribute = value.get_item(&key)?;
        let name = python::text(&key).into_owned();
        if name.is_empty() || name.contains(|c: char| python::is_space(c) || "/>=".contains(c)) {
            return Err(wrong("xmlattr", "a name must not hold spaces, '/', '>' or '='"));
        }
        if attribute.is_none() || attribute.is_undefined() {
            continue;
        }
        let space = if out.is_empty() { "" } else { " " };
        out += &format!("{space}{}=\"{}\"", escaped(&name), escaped(&python::text(&attribute)));
    }
    Ok(if is_true(spaced, true) && !out.is_empty() { format!(" {out}") } else { out })
}
