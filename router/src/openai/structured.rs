//! What an answer must look like: `response_format`, vLLM's `structured_outputs` and `guided_*`, SGLang's `regex`, and
//! `json_schema`.

use secateur_grammar::Grammar;
use secateur_proto::ServiceError;
use serde_json::Value;

use super::fields::{Fields, unsupported};
use crate::request::Structured;

/// Most alternatives of a choice.
const CHOICES_MAX: usize = 1_000;

/// Reads the grammar; one field at most may ask for one. An error names the field that is wrong, or the second one of two that contradict each other.
pub fn parse(fields: &Fields) -> Result<Option<Structured>, ServiceError> {
    let asked = [
        response_format(fields)?,
        structured_outputs(fields)?,
        schema(fields, "guided_json")?,
        object(fields, "guided_json_object")?,
        text(fields, "guided_regex", Grammar::regex)?,
        choice(fields, "guided_choice")?,
        text(fields, "guided_grammar", lark)?,
        text(fields, "regex", Grammar::regex)?,
        schema(fields, "json_schema")?,
    ];
    let mut asked = asked.into_iter().flatten();
    let first = asked.next();
    match asked.next() {
        Some(second) => Err(super::fields::invalid(
            second.param.clone(),
            format!("{} asks for a second form of the answer; give one", second.param),
        )),
        None => Ok(first),
    }
}

fn response_format(fields: &Fields) -> Result<Option<Structured>, ServiceError> {
    let Some(format) = fields.object("response_format")? else { return Ok(None) };
    let kind = format.text("type")?.ok_or_else(|| format.invalid("type", "is required"))?;
    match kind {
        "text" => Ok(None),
        "json_object" => {
            Ok(Some(Structured { grammar: Grammar::json_object(), param: fields.path("response_format") }))
        }
        "json_schema" => {
            let described =
                format.object("json_schema")?.ok_or_else(|| format.invalid("json_schema", "is required"))?;
            match schema(&described, "schema")? {
                Some(found) => Ok(Some(found)),
                None => Err(described.invalid("schema", "is required")),
            }
        }
        other => {
            let message =
                format!("response_format of type {other} is not supported; text, json_object or json_schema is");
            Err(unsupported(format.path("type"), message))
        }
    }
}

fn structured_outputs(fields: &Fields) -> Result<Option<Structured>, ServiceError> {
    let Some(outputs) = fields.object("structured_outputs")? else { return Ok(None) };
    if outputs.get("structural_tag").is_some() {
        return Err(unsupported(outputs.path("structural_tag"), "structural_tag is not supported; leave it out"));
    }
    let asked = [
        schema(&outputs, "json")?,
        object(&outputs, "json_object")?,
        text(&outputs, "regex", Grammar::regex)?,
        choice(&outputs, "choice")?,
        text(&outputs, "grammar", lark)?,
    ];
    let mut asked = asked.into_iter().flatten();
    let first = asked.next().ok_or_else(|| {
        fields.invalid("structured_outputs", "needs one of json, json_object, regex, choice and grammar")
    })?;
    match asked.next() {
        Some(_) => {
            Err(fields
                .invalid("structured_outputs", "may hold only one of json, json_object, regex, choice and grammar"))
        }
        None => Ok(Some(first)),
    }
}

/// A JSON schema, as an object, as true or false, or as a string that holds one.
fn schema(fields: &Fields, key: &str) -> Result<Option<Structured>, ServiceError> {
    let schema = match fields.get(key) {
        None => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(value @ (Value::Object(_) | Value::Bool(_))) => value.to_string(),
        Some(_) => return Err(fields.invalid(key, "must be a JSON schema")),
    };
    Ok(Some(Structured { grammar: Grammar::JsonSchema(schema), param: fields.path(key) }))
}

fn object(fields: &Fields, key: &str) -> Result<Option<Structured>, ServiceError> {
    let is_asked = fields.flag(key)?.unwrap_or(false);
    Ok(is_asked.then(|| Structured { grammar: Grammar::json_object(), param: fields.path(key) }))
}

fn text(fields: &Fields, key: &str, grammar: fn(&str) -> Grammar) -> Result<Option<Structured>, ServiceError> {
    let text = fields.text(key)?.filter(|text| !text.is_empty());
    Ok(text.map(|text| Structured { grammar: grammar(text), param: fields.path(key) }))
}

fn lark(text: &str) -> Grammar {
    Grammar::Lark(text.to_owned())
}

fn choice(fields: &Fields, key: &str) -> Result<Option<Structured>, ServiceError> {
    let Some(list) = fields.list(key)? else { return Ok(None) };
    let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
    match texts {
        Some(texts) if (1..=CHOICES_MAX).contains(&texts.len()) && texts.iter().all(|text| !text.is_empty()) => {
            Ok(Some(Structured { grammar: Grammar::choice(texts), param: fields.path(key) }))
        }
        _ => Err(fields.invalid(key, format!("must be a list of 1 to {CHOICES_MAX} strings that are not empty"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secateur_proto::ErrorCode;
    use serde_json::json;

    fn read(body: Value) -> Result<Option<Structured>, ServiceError> {
        parse(&Fields::of(&body, "").unwrap())
    }

    fn grammar(body: Value) -> Grammar {
        read(body).unwrap().unwrap().grammar
    }

    #[test]
    fn every_dialect_is_read() {
        let schema = json!({"type": "object", "properties": {"b": {}, "a": {}}});
        let json_schema = Grammar::JsonSchema(schema.to_string());
        let openai = json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": schema}}});
        assert_eq!(grammar(openai.clone()), json_schema);
        assert_eq!(read(openai).unwrap().unwrap().param, "response_format.json_schema.schema");
        assert_eq!(grammar(json!({"guided_json": schema})), json_schema);
        assert_eq!(grammar(json!({"json_schema": schema.to_string()})), json_schema);
        assert_eq!(grammar(json!({"structured_outputs": {"json": schema}})), json_schema);
        assert_eq!(grammar(json!({"response_format": {"type": "json_object"}})), Grammar::json_object());
        assert_eq!(grammar(json!({"guided_regex": "a+"})), Grammar::Regex("a+".into()));
        assert_eq!(grammar(json!({"guided_choice": ["a", "b"]})), Grammar::choice(["a", "b"]));
        assert_eq!(
            grammar(json!({"structured_outputs": {"grammar": "start: \"a\""}})),
            Grammar::Lark("start: \"a\"".into())
        );
        for nothing in
            [json!({}), json!({"response_format": {"type": "text"}}), json!({"guided_json": null, "regex": ""})]
        {
            assert_eq!(read(nothing).unwrap(), None);
        }
    }

    #[test]
    fn keys_of_a_schema_keep_the_clients_order() {
        let body: Value = serde_json::from_str(r#"{"guided_json": {"properties": {"z": {}, "a": {}}}}"#).unwrap();
        assert_eq!(grammar(body), Grammar::JsonSchema(r#"{"properties":{"z":{},"a":{}}}"#.into()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, param) in [
            (json!({"response_format": {}}), "response_format.type"),
            (json!({"response_format": {"type": "json_schema"}}), "response_format.json_schema"),
            (
                json!({"response_format": {"type": "json_schema", "json_schema": {}}}),
                "response_format.json_schema.schema",
            ),
            (json!({"response_format": "json"}), "response_format"),
            (json!({"guided_json": 5}), "guided_json"),
            (json!({"guided_choice": []}), "guided_choice"),
            (json!({"guided_choice": ["a", 5]}), "guided_choice"),
            (json!({"structured_outputs": {}}), "structured_outputs"),
            (json!({"structured_outputs": {"regex": "a", "json": {}}}), "structured_outputs"),
            (json!({"guided_regex": "a", "guided_json": {}}), "guided_regex"),
        ] {
            assert_eq!(read(body.clone()).unwrap_err().param.as_deref(), Some(param), "{body}");
        }
        let error = read(json!({"response_format": {"type": "grammar"}})).unwrap_err();
        assert_eq!(
            (error.code, error.param.as_deref()),
            (ErrorCode::UnsupportedParameter, Some("response_format.type"))
        );
    }
}
