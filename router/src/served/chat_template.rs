//! Where a checkpoint folder keeps its chat template.
//!
//! The first of: `chat_template` of processor_config.json, chat_template.jinja, `default.jinja` in the folder
//! `additional_chat_templates`, chat_template.json, `chat_template` of tokenizer_config.json. Where templates have names,
//! it is the one called `default`, as in transformers: the others are for tools or retrieval, or are asked for by name.

use std::{io, path::Path};

use serde_json::Value;

use super::{LoadError, files};

/// The template's source; none: the folder has none.
pub fn find(folder: &Path, tokenizer_config: &Value) -> Result<Option<String>, LoadError> {
    let key = |config: &Value| source_in(&config["chat_template"]);
    if let Some(source) = key(&files::optional_json(folder, "processor_config.json")?) {
        return Ok(Some(source));
    }
    for file in ["chat_template.jinja", "additional_chat_templates/default.jinja"] {
        if let Some(source) = optional_text(folder, file)? {
            return Ok(Some(source));
        }
    }
    let wrapper = files::optional_json(folder, "chat_template.json")?;
    Ok(key(&wrapper).or_else(|| key(tokenizer_config)))
}

/// A template, or named ones as a list or an object.
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

fn optional_text(folder: &Path, name: &str) -> Result<Option<String>, LoadError> {
    let path = folder.join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LoadError::Read { path, source }),
    }
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
        let found = || find(folder.path(), &config).unwrap();
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
        assert_eq!(find(folder.path(), &named).unwrap(), None);
    }
}
