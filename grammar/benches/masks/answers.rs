//! Answers as models give them, and the grammars that they are held to.

use secateur_grammar::Grammar;
use serde_json::json;

/// An answer.
pub struct Answer {
    /// Name in the table.
    pub name: &'static str,
    /// What it is held to.
    pub grammar: Grammar,
    /// The answer's text.
    pub text: &'static str,
}

const RECORD: &str = r#"{
  "title": "Notes on the estuary",
  "year": 2024,
  "isOpen": true,
  "authors": [
    {"name": "Ada Whitcombe", "email": "ada.whitcombe@example.org", "role": "editor"},
    {"name": "Jonas Brügge", "email": "jonas@example.org", "role": "author"},
    {"name": "Mei Tanaka", "email": "mei.tanaka@example.org", "role": "reviewer"}
  ],
  "score": 7.25,
  "tags": ["tides", "salt marsh", "wading birds", "sediment", "long-term survey"],
  "summary": "The survey follows the marsh over four winters. Counts of dunlin and knot rose in the second year, fell in the third, and have since been steady; the channel has moved \"about thirty metres\" to the east."
}"#;

const STRINGS: &str = r#"["Heron", "Oystercatcher", "Curlew", "Redshank", "Little egret", "Common tern", "Black-tailed godwit", "Avocet", "Ringed plover", "Turnstone", "Grey plover", "Sanderling", "Dunlin", "Knot", "Bar-tailed godwit", "Whimbrel", "Spoonbill", "Shelduck", "Wigeon", "Pintail", "Teal", "Brent goose", "Cormorant", "Kittiwake"]"#;

const OBJECT: &str = r#"{"city": "Utrecht", "population": 374238, "districts": [{"name": "Binnenstad", "area_km2": 2.4, "is_old": true}, {"name": "Lombok", "area_km2": 0.8, "is_old": false}], "river": null, "twins": {"north": ["Hannover", "Brno"], "west": []}, "note": "Figures are those of 2024, rounded; areas leave water out."}"#;

const LOG: &str =
    "2026-03-14 09:26:53 WARN  [gateway-07] 10.32.118.9 GET /v1/models/status -> 503 in 1284 ms; retry after 30 s";
const LOG_FORM: &str = r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2} (INFO|WARN|ERROR) +\[[a-z]+-\d{2}\] (\d{1,3}\.){3}\d{1,3} (GET|POST|PUT) (/[a-z0-9_]+)+ -> \d{3} in \d+ ms(; [a-z0-9 ]+)?";

/// Every answer that is measured.
pub fn answers() -> Vec<Answer> {
    let text = json!({"type": "string"});
    let author = json!({
        "type": "object", "required": ["name", "email", "role"], "additionalProperties": false,
        "properties": {"name": text, "email": text, "role": {"enum": ["author", "editor", "reviewer"]}},
    });
    let record = json!({
        "type": "object", "additionalProperties": false,
        "required": ["title", "year", "isOpen", "authors", "score", "tags", "summary"],
        "properties": {
            "title": {"type": "string", "maxLength": 80}, "year": {"type": "integer", "minimum": 1900, "maximum": 2100},
            "isOpen": {"type": "boolean"}, "authors": {"type": "array", "items": author, "minItems": 1},
            "score": {"type": "number"}, "tags": {"type": "array", "items": text}, "summary": text,
        },
    });
    let strings = json!({"type": "array", "items": text, "minItems": 16});
    let labels = ["billing", "shipping", "returns", "warranty", "technical support", "cancellation of the contract"];
    vec![
        Answer { name: "schema", grammar: Grammar::JsonSchema(record.to_string()), text: RECORD },
        Answer { name: "strings", grammar: Grammar::JsonSchema(strings.to_string()), text: STRINGS },
        Answer { name: "json_object", grammar: Grammar::json_object(), text: OBJECT },
        Answer { name: "regex", grammar: Grammar::regex(LOG_FORM), text: LOG },
        Answer { name: "choice", grammar: Grammar::choice(labels), text: "cancellation of the contract" },
    ]
}
