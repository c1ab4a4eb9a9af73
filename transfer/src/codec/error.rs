//! The error of decoding.

/// Reason why a part cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// The part ends before its values do.
    #[error("a part is shorter than its positions need")]
    Short,
    /// The form is unknown, or not one of the span's codec.
    #[error("a part has a form that its codec does not have")]
    Form,
    /// The entropy decoder does not end in the state in which the encoder began.
    #[error("a part's bits are not those of its values")]
    State,
}
