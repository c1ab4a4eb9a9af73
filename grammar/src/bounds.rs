//! Bounds on what is compiled, and a stack that is deep enough for all within them.
//!
//! llguidance follows references and rules by recursion, with some KiB of stack for each level, and compares the
//! properties of an object with each other; neither is bounded there. A stack that overflows ends the whole program.

use std::{collections::HashMap, ptr, thread};

use serde_json::{Deserializer, Value};

/// Levels of nesting of a schema and of everything that it refers to, summed up.
const LEVELS_MAX: usize = 10_000;
/// Pairs of properties of one object, summed up over all objects: two thousand properties of one.
const PROPERTY_PAIRS_MAX: usize = 4_000_000;
/// The same for patterns of properties, of which each is intersected with every other.
const PATTERN_PAIRS_MAX: usize = 4_096;
/// Rules of a grammar. One may be defined by the next, and so on.
const RULES_MAX: usize = 1_000;
/// Stack for the deepest recursion within these bounds, several times over. Memory is taken for what is used of it.
const STACK_BYTES: usize = 256 << 20;
/// Word that stands before a JSON schema in a grammar.
const SCHEMA_MARK: &str = "%json";

/// What a schema has of each that is bounded.
#[derive(Default)]
struct Extent {
    levels: usize,
    property_pairs: usize,
    pattern_pairs: usize,
}

/// Checks a JSON schema.
pub fn check_schema(schema: &Value) -> Result<(), String> {
    let mut extent = Extent::default();
    extent.add(schema);
    extent.check()
}

/// Checks a grammar in Lark, and the JSON schemas in it.
pub fn check_lark(source: &str) -> Result<(), String> {
    // Each rule begins on a line of its own, with its name and a colon.
    let count = |text: &str| text.lines().filter(|line| line.contains(':')).count();
    let (mut extent, mut rules, mut rest) = (Extent::default(), 0, source);
    while let Some(at) = rest.find(SCHEMA_MARK) {
        let (before, behind) = rest.split_at(at + SCHEMA_MARK.len());
        rules += count(before);
        let mut values = Deserializer::from_str(behind).into_iter::<Value>();
        rest = match values.next() {
            Some(Ok(schema)) => {
                extent.add(&schema);
                behind.get(values.byte_offset()..).unwrap_or_default()
            }
            _ => behind,
        };
    }
    bounded("rules", rules + count(rest), RULES_MAX)?;
    extent.check()
}

/// Runs `work` on a thread with a deep stack.
pub fn on_deep_stack<T: Send>(work: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("grammar".to_owned()).stack_size(STACK_BYTES);
        let failed = || Err("it cannot be compiled".to_owned());
        thread.spawn_scoped(scope, work).map_or_else(|_| failed(), |work| work.join().unwrap_or_else(|_| failed()))
    })
}

impl Extent {
    fn add(&mut self, schema: &Value) {
        let mut targets = HashMap::new();
        self.count(schema, schema, &mut targets);
        self.levels += nesting(schema) + targets.into_values().map(nesting).sum::<usize>();
    }

    /// Counts what is in `value`, and collects what of `root` it refers to, each by its address.
    fn count<'a>(&mut self, value: &'a Value, root: &'a Value, targets: &mut HashMap<usize, &'a Value>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.count(item, root, targets)),
            Value::Object(fields) => {
                for (key, field) in fields {
                    match (key.as_str(), field) {
                        ("properties", Value::Object(of)) => self.property_pairs += of.len().saturating_pow(2),
                        ("required", Value::Array(of)) => self.property_pairs += of.len().saturating_pow(2),
                        ("patternProperties", Value::Object(of)) => self.pattern_pairs += of.len().saturating_pow(2),
                        ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(reference)) => {
                            // What is not a plain path into the schema may be any of it.
                            let path = reference.strip_prefix('#');
                            let target = path.and_then(|path| root.pointer(path)).unwrap_or(root);
                            targets.insert(ptr::from_ref(target).addr(), target);
                        }
                        _ => {}
                    }
                    self.count(field, root, targets);
                }
            }
            _ => {}
        }
    }

    fn check(&self) -> Result<(), String> {
        bounded("levels of nesting, references followed", self.levels, LEVELS_MAX)?;
        bounded("pairs of properties", self.property_pairs, PROPERTY_PAIRS_MAX)?;
        bounded("pairs of patterns of properties", self.pattern_pairs, PATTERN_PAIRS_MAX)
    }
}

/// Levels of a value; the JSON parser bounds them to 128.
fn nesting(value: &Value) -> usize {
    let inside = match value {
        Value::Array(items) => items.iter().map(nesting).max(),
        Value::Object(fields) => fields.values().map(nesting).max(),
        _ => None,
    };
    1 + inside.unwrap_or(0)
}

fn bounded(what: &str, found: usize, limit: usize) -> Result<(), String> {
    if found <= limit { Ok(()) } else { Err(format!("it has {found} {what}, more than the limit of {limit}")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Grammar, vocabulary::tests::vocabulary};

    /// A schema whose definitions refer each to the next.
    fn chain(length: usize) -> Value {
        let next = |at: usize| json!({"type": "array", "items": {"$ref": format!("#/$defs/d{at}")}});
        let mut defs: serde_json::Map<_, _> = (0..length).map(|at| (format!("d{at}"), next(at + 1))).collect();
        defs.insert(format!("d{length}"), json!({"type": "boolean"}));
        json!({"$ref": "#/$defs/d0", "$defs": defs})
    }

    fn object(names: usize, key: &str) -> Value {
        let names: serde_json::Map<_, _> = (0..names).map(|at| (format!("^p{at}$"), json!(true))).collect();
        json!({"type": "object", key: names})
    }

    fn rules(number: usize) -> String {
        let rules = (1..number).map(|at| format!("r{at}: r{}\n", at + 1)).collect::<String>();
        format!("start: r1\n{rules}r{number}: \"x\"\n")
    }

    #[test]
    fn what_is_within_the_bounds_fits_on_the_stack() {
        let (vocabulary, _) = vocabulary();
        for grammar in [Grammar::JsonSchema(chain(3_000).to_string()), Grammar::Lark(rules(900))] {
            assert!(vocabulary.compile(&grammar, &[]).is_ok());
        }
    }

    #[test]
    fn what_exceeds_them_is_refused_before_it_is_compiled() {
        let (vocabulary, _) = vocabulary();
        for (grammar, word) in [
            (Grammar::JsonSchema(chain(12_000).to_string()), "levels"),
            (Grammar::JsonSchema(object(8_000, "properties").to_string()), "pairs of properties"),
            (Grammar::JsonSchema(object(400, "patternProperties").to_string()), "patterns"),
            (Grammar::Lark(rules(8_000)), "rules"),
            (Grammar::Lark(format!("start: %json {}", chain(12_000))), "levels"),
        ] {
            let error = vocabulary.compile(&grammar, &[]).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("limit"), "{error}");
        }
    }

    #[test]
    fn lines_of_a_schema_are_no_rules() {
        let schema = serde_json::to_string_pretty(&object(1_500, "properties")).unwrap();
        assert_eq!(check_lark(&format!("start: \"%json\" a\na: %json {schema}\n")), Ok(()));
    }

    #[test]
    fn references_to_one_place_count_once() {
        let many: Vec<Value> = (0..9_000).map(|_| json!({"$ref": "#/$defs/a"})).collect();
        assert_eq!(check_schema(&json!({"anyOf": many, "$defs": {"a": {"type": "null"}}})), Ok(()));
    }
}
