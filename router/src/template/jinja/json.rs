//! The filter `tojson` as in transformers: Python's `json.dumps` with its options, without escaping non-ASCII
//! characters.

use std::fmt::Write;

use minijinja::{
    Error, Value,
    value::{Kwargs, Rest, ValueKind},
};

use super::{arguments::arguments, error::refused, python};

/// How JSON is laid out.
struct Layout {
    ensures_ascii: bool,
    /// Indentation of one level; `None` puts everything on one line.
    indent: Option<String>,
    between_items: String,
    after_key: String,
    sorts_keys: bool,
}

/// The filter `tojson`.
pub fn tojson(value: &Value, given: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let [ensure_ascii, indent, separators, sort_keys] = arguments(names, given, &named)?;
    let (indent, separators) = [indent, separators].map(|value| value.filter(|value| !value.is_none())).into();
    let is_true = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let (ensures_ascii, sorts_keys) = (is_true(ensure_ascii), is_true(sort_keys));
    let indent = indent.map(|value| indentation(&value)).transpose()?;
    let (between_items, after_key) = match separators {
        Some(pair) => {
            let part = |index: usize| Ok::<_, Error>(python::text(&pair.get_item(&index.into())?).into_owned());
            (part(0)?, part(1)?)
        }
        None if indent.is_some() => (",".into(), ": ".into()),
        None => (", ".into(), ": ".into()),
    };
    let layout = Layout { ensures_ascii, indent, between_items, after_key, sorts_keys };
    let mut out = String::new();
    layout.write(&mut out, value, 0)?;
    Ok(out)
}

fn indentation(value: &Value) -> Result<String, Error> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => {
            let width = i64::try_from(value.clone()).map_err(|_| refused("tojson: indent must be a number"))?;
            Ok(" ".repeat(width.clamp(0, 64) as usize))
        }
    }
}

impl Layout {
    fn write(&self, out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => out.push_str(&number(value)),
            ValueKind::String => self.write_text(out, value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.write_all(out, ('[', ']'), items, depth, |out, item| self.write(out, &item, depth + 1))?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorts_keys {
                    keys.sort();
                }
                self.write_all(out, ('{', '}'), keys, depth, |out, key| {
                    self.write_text(out, &key_text(&key)?);
                    out.push_str(&self.after_key);
                    self.write(out, &value.get_item(&key)?, depth + 1)
                })?;
            }
            kind => return Err(refused(format!("{kind} is not JSON serializable"))),
        }
        Ok(())
    }

    fn write_all(
        &self,
        out: &mut String,
        (open, close): (char, char),
        items: Vec<Value>,
        depth: usize,
        mut write: impl FnMut(&mut String, Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        out.push(open);
        let is_empty = items.is_empty();
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                out.push_str(&self.between_items);
            }
            self.new_line(out, depth + 1);
            write(out, item)?;
        }
        if !is_empty {
            self.new_line(out, depth);
        }
        out.push(close);
        Ok(())
    }

    fn new_line(&self, out: &mut String, depth: usize) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    }

    fn write_text(&self, out: &mut String, text: &str) {
        out.push('"');
        for character in text.chars() {
            match character {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                '\0'..'\u{20}' => push_escaped(out, character),
                _ if self.ensures_ascii && !(' '..='~').contains(&character) => push_escaped(out, character),
                _ => out.push(character),
            }
        }
        out.push('"');
    }
}

fn push_escaped(out: &mut String, character: char) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        let _ = write!(out, "\\u{unit:04x}");
    }
}

fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    match python::as_float(value) {
        number if number.is_nan() => "NaN".into(),
        number if number.is_infinite() => if number > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        number => python::float(number),
    }
}

fn key_text(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.as_str().unwrap_or_default().to_owned()),
        ValueKind::None => Ok("null".into()),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.into()),
        ValueKind::Number => Ok(number(key)),
        kind => Err(refused(format!("keys must be strings, numbers, true, false or none, not {kind}"))),
    }
}
