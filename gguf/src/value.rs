//! Metadata values.

/// The value of a metadata key. Integers of all widths are one kind, and so are both widths of floating point numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An integer of any width and sign.
    Integer(i128),
    /// A floating point number.
    Float(f64),
    /// A truth value.
    Flag(bool),
    /// A text. Bytes that are not UTF-8 were replaced.
    Text(String),
    /// An array of integers. The reader refuses values that do not fit a signed 64-bit integer.
    Integers(Vec<i64>),
    /// An array of floating point numbers, in single precision.
    Floats(Vec<f32>),
    /// An array of truth values.
    Flags(Vec<bool>),
    /// An array of texts.
    Texts(Vec<String>),
}

impl Value {
    /// Description of the value's kind, for error messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a number",
            Value::Flag(_) => "true or false",
            Value::Text(_) => "a text",
            Value::Integers(_) => "an array of integers",
            Value::Floats(_) => "an array of numbers",
            Value::Flags(_) => "an array of truth values",
            Value::Texts(_) => "an array of texts",
        }
    }

    /// Adds the value to a digest. Different values add different bytes.
    pub(crate) fn digest(&self, hasher: &mut blake3::Hasher) {
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        part(self.kind().as_bytes());
        match self {
            Value::Integer(value) => part(&value.to_le_bytes()),
            Value::Float(value) => part(&value.to_le_bytes()),
            Value::Flag(value) => part(&[u8::from(*value)]),
            Value::Text(value) => part(value.as_bytes()),
            Value::Integers(values) => values.iter().for_each(|value| part(&value.to_le_bytes())),
            Value::Floats(values) => values.iter().for_each(|value| part(&value.to_le_bytes())),
            Value::Flags(values) => values.iter().for_each(|value| part(&[u8::from(*value)])),
            Value::Texts(values) => values.iter().for_each(|value| part(value.as_bytes())),
        }
    }
}
