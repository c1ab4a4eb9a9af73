//! Jinja's filters and tests that the template engine lacks or implements differently.

use minijinja::{
    Environment, Error, State, Value,
    value::{Kwargs, ValueKind},
};

use super::{json, python, strings};

mod numbers;
mod prose;

/// Adds the filters and tests to `environment`.
pub fn add(environment: &mut Environment<'_>) {
    environment.add_filter("tojson", json::tojson);
    environment.add_filter("string", |value: &Value| python::text(value).into_owned());
    environment.add_filter("pprint", |value: &Value| python::repr(value));
    environment.add_filter("join", join);
    environment.add_filter("trim", trim);
    environment.add_filter("capitalize", |value: &Value| strings::capitalized(&python::text(value)));
    environment.add_filter("title", |value: &Value| strings::titled(&python::text(value), begins_word));
    environment.add_filter("lower", |value: &Value| python::text(value).to_lowercase());
    environment.add_filter("upper", |value: &Value| python::text(value).to_uppercase());
    environment.add_filter("list", list);
    environment.add_filter("random", random);
    numbers::add(environment);
    prose::add(environment);
    environment.add_test("sequence", is_sequence);
    environment.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
}

/// The function `dict`, which takes a mapping or pairs.
pub fn dict(pairs: Option<&Value>, named: Kwargs) -> Result<Value, Error> {
    let mut entries: Vec<(Value, Value)> = Vec::new();
    if let Some(pairs) = pairs {
        for item in pairs.try_iter()? {
            entries.push(match pairs.kind() {
                ValueKind::Map => (item.clone(), pairs.get_item(&item)?),
                _ => (item.get_item(&0.into())?, item.get_item(&1.into())?),
            });
        }
    }
    for name in named.args() {
        entries.push((Value::from(name), named.get(name)?));
    }
    Ok(Value::from_pairs(entries))
}

/// Whether the `title` filter begins a word after this character.
fn begins_word(last: char) -> bool {
    python::is_space(last) || "-([{<".contains(last)
}

fn join(state: &mut State, value: &Value, separator: Option<&Value>, named: Kwargs) -> Result<String, Error> {
    let separator = match separator {
        Some(separator) => separator.clone(),
        None => named.get::<Option<Value>>("d")?.unwrap_or_default(),
    };
    let attribute = named.get::<Option<Value>>("attribute")?;
    named.assert_all_used()?;
    let items = match attribute {
        Some(attribute) => {
            state.apply_filter("map", &[value.clone(), Kwargs::from_iter([("attribute", attribute)]).into()])?
        }
        None => value.clone(),
    };
    let parts: Vec<String> = items.try_iter()?.map(|item| python::text(&item).into_owned()).collect();
    Ok(parts.join(&python::text(&separator)))
}

fn trim(value: &Value, characters: Option<&str>) -> String {
    let text = python::text(value);
    match characters {
        Some(set) => text.trim_matches(|character| set.contains(character)).to_owned(),
        None => text.trim_matches(python::is_space).to_owned(),
    }
}

fn list(value: &Value) -> Result<Value, Error> {
    Ok(Value::from(value.try_iter()?.collect::<Vec<Value>>()))
}

fn random(value: &Value) -> Result<Value, Error> {
    let items: Vec<Value> = value.try_iter()?.collect();
    match items.len() {
        0 => Ok(Value::UNDEFINED),
        count => Ok(items[rand::random_range(0..count)].clone()),
    }
}

/// Whether a value has a length and can be indexed, which includes strings and mappings.
fn is_sequence(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map | ValueKind::Undefined)
        || (value.kind() == ValueKind::Iterable && value.len().is_some())
}
