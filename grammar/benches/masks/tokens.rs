//! A checkpoint's tokens, and texts cut into them.

use std::{collections::HashMap, path::Path};

use secateur_gguf::Gguf;
use secateur_grammar::{Spelling, Vocabulary};
use serde_json::Value;

/// The tokens of a checkpoint.
pub struct Tokens {
    /// The tokens, ready for grammars.
    pub vocabulary: Vocabulary,
    /// Ids that there are.
    pub count: usize,
    ids: HashMap<Vec<u8>, u32>,
    longest: usize,
}

impl Tokens {
    /// Reads a GGUF file, or the tokenizer.json of a folder.
    pub fn read(model: &Path) -> Tokens {
        let tokenizer: Value = match secateur_gguf::find(model).unwrap() {
            Some(file) => Gguf::open(&file).unwrap().tokenizer().unwrap(),
            None => serde_json::from_slice(&std::fs::read(model.join("tokenizer.json")).unwrap()).unwrap(),
        };
        let spelling = Spelling::of_decoder(&tokenizer["decoder"]);
        let listed: Vec<(String, u32)> = match &tokenizer["model"]["vocab"] {
            Value::Object(ids) => ids.iter().map(|(token, id)| (token.clone(), id.as_u64().unwrap() as u32)).collect(),
            Value::Array(tokens) => {
                (0..).zip(tokens).map(|(id, token)| (token[0].as_str().unwrap().to_owned(), id)).collect()
            }
            _ => panic!("{} has no vocabulary", model.display()),
        };
        let added = tokenizer["added_tokens"].as_array().cloned().unwrap_or_default();
        let special: Vec<u32> = added.iter().filter(|token| token["special"] == true).map(id_of).collect();
        let all = listed.iter().map(|(_, id)| *id).chain(added.iter().map(id_of));
        let count = all.max().unwrap() as usize + 1;
        let end = special.first().copied().unwrap_or(count as u32 - 1);
        let is_text = |(_, id): &&(String, u32)| !special.contains(id);
        let ids: HashMap<Vec<u8>, u32> =
            listed.iter().filter(is_text).map(|(token, id)| (spelling.bytes(token), *id)).collect();
        let longest = ids.keys().map(Vec::len).max().unwrap();
        Tokens { vocabulary: Vocabulary::of_tokenizer(&tokenizer, Some(end)).unwrap(), count, ids, longest }
    }

    /// Tokens of a text: the longest one each time, which is close to what a model writes.
    pub fn of(&self, text: &str) -> Vec<u32> {
        let (mut rest, mut found) = (text.as_bytes(), Vec::new());
        while !rest.is_empty() {
            let len = (1..=rest.len().min(self.longest)).rev().find(|len| self.ids.contains_key(&rest[..*len]));
            let len = len.unwrap_or_else(|| panic!("no token begins {:?}", String::from_utf8_lossy(rest)));
            found.push(self.ids[&rest[..len]]);
            rest = &rest[len..];
        }
        found
    }
}

fn id_of(token: &Value) -> u32 {
    token["id"].as_u64().unwrap() as u32
}
