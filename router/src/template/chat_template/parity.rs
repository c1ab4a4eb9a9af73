//! Compares rendered templates with the output of transformers; `tests/fixtures/templates` says how that was produced.

use jiff::civil::date;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::*;
use crate::{openai::chat, request::Limits};

const LIMITS: Limits = Limits { images_max: 4, image_bytes_max: 1_000, vocab: 300 };

#[derive(Deserialize)]
struct Templates {
    tokens: Map<String, Value>,
    templates: usize,
    cases: Vec<Case>,
}

/// Known differences from transformers: names of cases, and expressions.
#[derive(Deserialize)]
struct Known {
    templates: Vec<String>,
    expressions: Vec<String>,
}

/// Fails if a case differs that is not a known difference, or if a known difference no longer differs.
fn hold(differing: Vec<(String, String)>, known: &[String], all: usize) {
    let new: Vec<&str> =
        differing.iter().filter(|(name, _)| !known.contains(name)).map(|(_, found)| found.as_str()).collect();
    assert!(new.is_empty(), "{} of {all} differ and are not known to:\n{}", new.len(), new.join("\n"));
    let is_mended = |name: &&String| differing.iter().all(|(other, _)| other != *name);
    let mended: Vec<&String> = known.iter().filter(is_mended).collect();
    assert!(mended.is_empty(), "no longer different, take them out of known_differences.json: {mended:?}");
}

#[derive(Deserialize)]
struct Case {
    name: String,
    template: String,
    messages: Value,
    kwargs: Value,
    expected: Option<String>,
    error: Option<String>,
}

fn clock() -> Clock {
    Clock::At(date(2026, 3, 5).at(14, 7, 9, 4_321_000))
}

fn fixture<T: for<'a> Deserialize<'a>>(name: &str) -> T {
    let path = format!("{}/tests/fixtures/templates/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The result of a case, run through the request that a client would send.
fn outcome(case: &Case, tokens: &Map<String, Value>) -> Result<String, ServiceError> {
    let named = tokens.iter().map(|(name, token)| (name.clone(), token.as_str().unwrap().to_owned())).collect();
    let tokens = NamedTokens { named, image: Some("<image>".into()) };
    let template = ChatTemplate::with_clock(&case.template, tokens, clock()).unwrap();
    let job = chat::parse(&json!({"messages": case.messages}), &LIMITS).unwrap();
    let Value::Object(kwargs) = &case.kwargs else { panic!("kwargs are an object") };
    let field =
        |(name, value): (&String, &Value)| Field { name: name.clone(), value: value.clone(), param: "kwargs".into() };
    let kwargs: Vec<Field> = kwargs.iter().map(field).collect();
    template.render(&Conversation { kwargs: &kwargs, ..template.conversation(&job) }, |_, text| text.to_owned())
}

#[test]
fn templates_render_as_in_transformers() {
    let known: Known = fixture("known_differences.json");
    let fixture: Templates = fixture("templates.json");
    assert!(fixture.templates >= 40 && fixture.cases.len() >= fixture.templates);
    let mut differing = Vec::new();
    for case in &fixture.cases {
        let found = outcome(case, &fixture.tokens);
        let is_equal = match (&case.expected, &case.error, &found) {
            (Some(expected), _, Ok(found)) => expected == found,
            (None, Some(error), Err(found)) => found.message.ends_with(error.as_str()),
            _ => false,
        };
        if !is_equal {
            let found = format!("{}\n expected {:?} {:?}\n found    {found:?}", case.name, case.expected, case.error);
            differing.push((case.name.clone(), found));
        }
    }
    hold(differing, &known.templates, fixture.cases.len());
}

#[derive(Deserialize)]
struct Expressions {
    variables: Value,
    cases: Vec<Expression>,
}

#[derive(Deserialize)]
struct Expression {
    template: String,
    expected: Option<String>,
    error: Option<String>,
}

#[test]
fn filters_tests_methods_and_values_are_those_of_transformers() {
    let known: Known = fixture("known_differences.json");
    let fixture: Expressions = fixture("expressions.json");
    let variables = value(&fixture.variables, &|text: &str| text.to_owned());
    let mut differing = Vec::new();
    for case in &fixture.cases {
        let found = jinja::environment(&case.template, clock())
            .and_then(|environment| environment.get_template(TEMPLATE)?.render(variables.clone()));
        let is_equal = match (&case.expected, &case.error, &found) {
            (Some(expected), _, Ok(found)) => expected == found,
            (None, Some(_), Err(_)) => true,
            _ => false,
        };
        if !is_equal {
            let found =
                format!("{}\n expected {:?} {:?}\n found    {found:?}", case.template, case.expected, case.error);
            differing.push((case.template.clone(), found));
        }
    }
    hold(differing, &known.expressions, fixture.cases.len());
}
