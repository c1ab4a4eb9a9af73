//! Reads one JSON object field by field. Null counts as absent, unknown keys are ignored, and every error names the
//! field by its full path (`secateur.visual.keep`).

use secateur_proto::{ErrorCode, ServiceError};
use serde_json::{Map, Value};

/// Most characters of a value that an error quotes, enough to find it again.
const QUOTED_CHARS_MAX: usize = 40;

/// A JSON object and its path in the request.
#[derive(Clone)]
pub struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

impl<'a> Fields<'a> {
    /// Reads `value`, which the client knows as `path` (empty: the body itself).
    pub fn of(value: &'a Value, path: impl Into<String>) -> Result<Self, ServiceError> {
        let path = path.into();
        match value {
            Value::Object(map) => Ok(Self { map, path }),
            _ if path.is_empty() => Err(ServiceError::new(ErrorCode::InvalidRequest, "the body must be a JSON object")),
            _ => Err(invalid(path.clone(), format!("{path} must be an object"))),
        }
    }

    /// The full name of `key`.
    pub fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The value of `key`, unless it is absent or null.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// The keys of the object.
    pub fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.map.keys().map(String::as_str)
    }

    /// The keys and values of the object, null ones included.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.map.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value of `key` as a string.
    pub fn text(&self, key: &str) -> Result<Option<&'a str>, ServiceError> {
        self.typed(key, "a string", Value::as_str)
    }

    /// The value of `key` as a boolean.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, ServiceError> {
        self.typed(key, "true or false", Value::as_bool)
    }

    /// The value of `key` as a list.
    pub fn list(&self, key: &str) -> Result<Option<&'a [Value]>, ServiceError> {
        self.typed(key, "a list", |value| value.as_array().map(Vec::as_slice))
    }

    /// The value of `key` as an object.
    pub fn object(&self, key: &str) -> Result<Option<Fields<'a>>, ServiceError> {
        self.get(key).map(|value| Fields::of(value, self.path(key))).transpose()
    }

    /// The value of `key` as a number.
    pub fn number(&self, key: &str) -> Result<Option<f64>, ServiceError> {
        self.typed(key, "a number", Value::as_f64)
    }

    /// The value of `key` as a number for which `accepts` holds; `range` describes those numbers in errors.
    pub fn number_where(
        &self,
        key: &str,
        range: &str,
        accepts: impl Fn(f64) -> bool,
    ) -> Result<Option<f64>, ServiceError> {
        match self.number(key)? {
            Some(number) if !accepts(number) => Err(self.out_of_range(key, range)),
            number => Ok(number),
        }
    }

    /// The value of `key` as a whole number; `3.0` counts as one, since some clients have no integers.
    pub fn integer(&self, key: &str) -> Result<Option<i128>, ServiceError> {
        self.typed(key, "an integer", whole)
    }

    /// The value of `key` as a whole number of at least `min`, clamped to `u32::MAX`.
    pub fn integer_from(&self, key: &str, min: u32) -> Result<Option<u32>, ServiceError> {
        match self.integer(key)? {
            Some(number) if number < i128::from(min) => Err(self.invalid(key, format!("must be at least {min}"))),
            number => Ok(number.map(|number| u32::try_from(number).unwrap_or(u32::MAX))),
        }
    }

    /// The value of `key` as the client wrote it, for errors; unlike a parsed integer, a number is not clamped.
    pub fn quoted(&self, key: &str) -> String {
        let text = match self.map.get(key) {
            // `Display` writes exponents with a `+`, which hardly any client sends.
            Some(Value::Number(number)) => number.to_string().replace("e+", "e"),
            found => found.map(Value::to_string).unwrap_or_default(),
        };
        text.chars().take(QUOTED_CHARS_MAX).collect()
    }

    /// The error for a value of `key` that is not in `range`.
    pub fn out_of_range(&self, key: &str, range: impl AsRef<str>) -> ServiceError {
        self.invalid(key, format!("must be {}, not {}", range.as_ref(), self.quoted(key)))
    }

    /// The error for a value of `key` that breaks `rule`.
    pub fn invalid(&self, key: &str, rule: impl AsRef<str>) -> ServiceError {
        let path = self.path(key);
        invalid(path.clone(), format!("{path} {}", rule.as_ref()))
    }

    fn typed<T>(
        &self,
        key: &str,
        kind: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ServiceError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match read(value) {
                Some(value) => Ok(Some(value)),
                None => Err(self.invalid(key, format!("must be {kind}"))),
            },
        }
    }
}

/// The error for a malformed field.
pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> ServiceError {
    ServiceError::new(ErrorCode::InvalidRequest, message).with_param(param)
}

/// The error for a field whose value is known but not supported.
pub fn unsupported(param: impl Into<String>, message: impl Into<String>) -> ServiceError {
    ServiceError::new(ErrorCode::UnsupportedParameter, message).with_param(param)
}

/// The value as a whole number of any size: beyond 64 bits the JSON parser has made a float of it.
pub fn whole(value: &Value) -> Option<i128> {
    if let Some(number) = value.as_i64() {
        return Some(number.into());
    }
    if let Some(number) = value.as_u64() {
        return Some(number.into());
    }
    let number = value.as_f64()?;
    // The cast saturates, so a number beyond `i128` becomes the nearest `i128`.
    (number.fract() == 0.0).then_some(number as i128)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn null_is_absent_and_errors_name_the_path() {
        let body = json!({"a": null, "b": {"c": "x"}});
        let fields = Fields::of(&body, "").unwrap();
        assert_eq!(fields.number("a").unwrap(), None);
        let inner = fields.object("b").unwrap().unwrap();
        let error = inner.number("c").unwrap_err();
        assert_eq!(error.param.as_deref(), Some("b.c"));
        assert_eq!(error.message, "b.c must be a number");
    }

    #[test]
    fn integers_of_any_size_are_read() {
        let body: Value = serde_json::from_str(r#"{"a": 3.0, "b": 1e40, "c": 3.5, "d": -1}"#).unwrap();
        let fields = Fields::of(&body, "").unwrap();
        assert_eq!(fields.integer_from("a", 1).unwrap(), Some(3));
        assert_eq!(fields.integer_from("b", 1).unwrap(), Some(u32::MAX));
        assert!(fields.integer("c").is_err());
        assert!(fields.integer_from("d", 0).is_err());
    }
}
