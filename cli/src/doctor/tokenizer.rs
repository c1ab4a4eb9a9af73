//! Check whether a router can tokenize text with a checkpoint folder, using the router's loader.

use std::path::Path;

use secateur_router::served::{self, LoadError};

use super::check::Check;

const NAME: &str = "tokenizer";

/// Loads tokenizer and chat template.
pub fn examine(dir: &Path) -> Check {
    match served::load(dir, None) {
        Ok(model) => well(model.vocab, model.template.is_some()),
        Err(error) => verdict(&error, others(dir)),
    }
}

fn well(vocab: u32, has_template: bool) -> Check {
    let check = Check::ok(NAME, format!("{vocab} tokens, {} chat template", if has_template { "a" } else { "no" }));
    if has_template {
        check
    } else {
        check.with_advice(
            "chat requests will be refused, /v1/completions works; for chat, put the model's chat_template.jinja into \
             the folder",
        )
    }
}

/// Files of tokenizers in formats that are not read.
fn others(dir: &Path) -> Vec<&'static str> {
    ["tokenizer.model", "vocab.json", "merges.txt"].into_iter().filter(|name| dir.join(name).is_file()).collect()
}

fn verdict(error: &LoadError, others: Vec<&'static str>) -> Check {
    let (found, advice) = match error {
        LoadError::Read { path, source } if source.kind() == std::io::ErrorKind::NotFound => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let advice = if others.is_empty() {
                format!("download {name} as well; without it no text becomes tokens")
            } else {
                format!(
                    "{} is not read; write {name} from it: in Python, \
                     AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)",
                    others.join(", ")
                )
            };
            (format!("{} is missing", path.display()), advice)
        }
        LoadError::Template { .. } => (error.to_string(), "take the template of the model's own repository".to_owned()),
        LoadError::Gguf(_) => {
            (error.to_string(), "take another GGUF file of the model, or its own repository".to_owned())
        }
        LoadError::Generation { key, .. } => {
            (error.to_string(), format!("take {key} out of the file to serve without it; answers may differ then"))
        }
        _ => (error.to_string(), "the file is damaged or edited; download it again".to_owned()),
    };
    Check::failed(NAME, found, advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_missing_tokenizer_can_be_made_of_what_is_there() {
        let error = || LoadError::Read { path: "/m/tokenizer.json".into(), source: io::ErrorKind::NotFound.into() };
        let none = verdict(&error(), Vec::new());
        assert!(
            !none.ok && none.found == "/m/tokenizer.json is missing" && none.advice.contains("download"),
            "{none:?}"
        );
        let old = verdict(&error(), vec!["tokenizer.model"]);
        assert!(old.advice.contains("tokenizer.model") && old.advice.contains("save_pretrained"), "{old:?}");
        assert!(well(5, true).advice.is_empty() && well(5, false).advice.contains("/v1/completions"));
    }
}
