//! `generation_config.json`: which tokens end an answer. The router reads the file's recommended sampling parameters.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::checkpoint::json;
use crate::error::{ModelError, Result};

#[derive(Default, Deserialize)]
struct AsTyped {
    eos_token_id: Option<Value>,
}

/// The end tokens that the file names; `None` if the file or the key is missing.
pub(crate) fn eos_token_ids(dir: &Path) -> Result<Option<Vec<u32>>> {
    let typed: AsTyped = json::read_optional(&dir.join("generation_config.json"))?.unwrap_or_default();
    typed.eos_token_id.map(|value| token_ids(&value, "generation_config.eos_token_id")).transpose()
}

/// One token id, a list of them, or null for none.
pub(crate) fn token_ids(value: &Value, field: &str) -> Result<Vec<u32>> {
    let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids = match value {
        Value::Null => Some(Vec::new()),
        Value::Array(values) => values.iter().map(one).collect(),
        single => one(single).map(|id| vec![id]),
    };
    ids.ok_or_else(|| ModelError::config(field, format!("`{value}` is not a token id or a list of them")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_a_list_and_null_are_all_in_use() {
        let ids = |json: &str| token_ids(&serde_json::from_str(json).unwrap(), "eos");
        assert_eq!(ids("2").unwrap(), [2]);
        assert_eq!(ids("[1, 9]").unwrap(), [1, 9]);
        assert!(ids("null").unwrap().is_empty());
        assert!(ids("\"</s>\"").is_err() && ids("-1").is_err() && ids("[2, null]").is_err());
    }
}
