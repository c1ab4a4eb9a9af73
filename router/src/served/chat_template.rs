//! Where a checkpoint keeps its chat template.
//!
//! The first of these is used: `chat_template` of processor_config.json, chat_template.jinja, `default.jinja` in the
//! folder `additional_chat_templates`, chat_template.json, `chat_template` of tokenizer_config.json. Among named
//! templates it is the one called `default`, as in transformers: the others are for tools or retrieval, or are
//! requested by name.

use std::io;

use serde_json::Value;

use super::{documents::Documents, error::LoadError};

/// The template's source; `None` if the checkpoint has no template.
pub fn find(documents: &Documents, tokenizer_config: &Value) -> Result<Option<String>, LoadError> {
    let key = |config: &Value| source_in(&config["chat_template"]);
    if let Some(source) = key(&documents.json("processor_config.json")?) {
        return Ok(Some(source));
    }
    for file in ["chat_template.jinja", "additional_chat_templates/default.jinja"] {
        if let Some(source) = optional_text(documents, file)? {
            return Ok(Some(source));
        }
    }
    let wrapper = documents.json("chat_template.json")?;
    Ok(key(&wrapper).or_else(|| key(tokenizer_config)))
}

/// The template in a value: a string, or the default one of named templates in a list or an object.
fn source_in(value: &Value) -> Option<String> {
    match value {
        Value::String(source) => Some(source.clone()),
        Value::Array(named) => {
            let default = named.iter().find(|entry| entry["name"] == "default")?;
            default["template"].as_str().map(str::to_owned)
        }
        Value::Object(named) => named.get("default")?.as_str().map(str::to_owned),
        _ => None,
    }
}

fn optional_text(documents: &Documents, name: &str) -> Result<Option<String>, LoadError> {
    let not_text = |error| LoadError::Read {
        path: documents.path().join(name),
        source: io::Error::new(io::ErrorKind::InvalidData, error),
    };
    documents.bytes(name)?.map(|bytes| String::from_utf8(bytes).map_err(not_text)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_file_of_its_own_wins_over_keys_in_others() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let config =
            json!({"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]});
        let found = || find(&Documents::of(folder.path()).unwrap(), &config).unwrap();
        assert_eq!(found().as_deref(), Some("d"));
        write("chat_template.json", r#"{"chat_template": "c"}"#);
        assert_eq!(found().as_deref(), Some("c"));
        std::fs::create_dir(folder.path().join("additional_chat_templates")).unwrap();
        write("additional_chat_templates/rag.jinja", "r");
        assert_eq!(found().as_deref(), Some("c"));
        write("additional_chat_templates/default.jinja", "b");
        assert_eq!(found().as_deref(), Some("b"));
        write("chat_template.jinja", "a");
        assert_eq!(found().as_deref(), Some("a"));
        write("processor_config.json", r#"{"chat_template": "p"}"#);
        assert_eq!(found().as_deref(), Some("p"));
    }

    #[test]
    fn named_templates_without_a_default_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let named = json!({"chat_template": [{"name": "tool_use", "template": "t"}]});
        assert_eq!(find(&Documents::of(folder.path()).unwrap(), &named).unwrap(), None);
    }
}
