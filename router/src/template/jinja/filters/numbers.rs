//! Filters whose defaults and limits are Python's.

use minijinja::{
    Environment, Error, Value,
    value::{Kwargs, ValueKind},
};

use super::super::{error::refused, python};

/// Adds the filters and tests to `environment`.
pub fn add(environment: &mut Environment<'_>) {
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    for name in ["default", "d"] {
        environment.add_filter(name, default);
    }
    for name in ["length", "count"] {
        environment.add_filter(name, length);
    }
    environment.add_filter("replace", replace);
    environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
}

/// The positional argument, or else the named one.
fn given(positional: Option<Value>, named: &Kwargs, name: &str) -> Result<Option<Value>, Error> {
    match positional {
        Some(value) => Ok(Some(value)),
        None => named.get::<Option<Value>>(name),
    }
}

fn int(value: &Value, default: Option<Value>, base: Option<u32>, named: Kwargs) -> Result<Value, Error> {
    let default = given(default, &named, "default")?.unwrap_or_else(|| 0.into());
    let base = match base {
        Some(base) => base,
        None => named.get::<Option<u32>>("base")?.unwrap_or(10),
    };
    named.assert_all_used()?;
    if let Some(text) = value.as_str() {
        let whole = i128::from_str_radix(digits(text.trim(), base), base.clamp(2, 36)).ok();
        let found = whole.map(Value::from).or_else(|| text.trim().parse::<f64>().ok().and_then(truncated));
        return Ok(found.unwrap_or(default));
    }
    let found = match value.kind() {
        ValueKind::Bool => Some(Value::from(i64::from(value.is_true()))),
        ValueKind::Number if value.is_integer() => Some(value.clone()),
        ValueKind::Number => f64::try_from(value.clone()).ok().and_then(truncated),
        _ => None,
    };
    Ok(found.unwrap_or(default))
}

/// The digits of `text`, without the prefix that Python allows for `base`.
fn digits(text: &str, base: u32) -> &str {
    let prefixes: [&str; 2] = match base {
        16 => ["0x", "0X"],
        8 => ["0o", "0O"],
        2 => ["0b", "0B"],
        _ => return text,
    };
    prefixes.iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text)
}

fn truncated(number: f64) -> Option<Value> {
    (number.is_finite() && number.abs() < 1e38).then(|| Value::from(number.trunc() as i128))
}

fn float(value: &Value, default: Option<Value>, named: Kwargs) -> Result<Value, Error> {
    let default = given(default, &named, "default")?.unwrap_or_else(|| 0.0.into());
    named.assert_all_used()?;
    let found = match value.as_str() {
        Some(text) => text.trim().parse::<f64>().ok(),
        None if value.kind() == ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        None => f64::try_from(value.clone()).ok(),
    };
    Ok(found.map_or(default, Value::from))
}

fn default(value: &Value, other: Option<Value>, boolean: Option<bool>, named: Kwargs) -> Result<Value, Error> {
    let other = given(other, &named, "default_value")?.unwrap_or_else(|| "".into());
    let boolean = match boolean {
        Some(boolean) => boolean,
        None => named.get::<Option<bool>>("boolean")?.unwrap_or(false),
    };
    named.assert_all_used()?;
    let is_there = !value.is_undefined() && (!boolean || value.is_true());
    Ok(if is_there { value.clone() } else { other })
}

fn length(value: &Value) -> Result<usize, Error> {
    if value.is_undefined() {
        return Ok(0);
    }
    value.len().ok_or_else(|| refused(format!("{} has no length", python::repr(value))))
}

fn replace(value: &Value, old: &str, new: &str, count: Option<usize>) -> String {
    let text = python::text(value);
    match count {
        Some(count) => text.replacen(old, new, count),
        None => text.replace(old, new),
    }
}
