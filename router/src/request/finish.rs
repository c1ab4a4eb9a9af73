//! Why an answer ended.

use serde::Serialize;

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// An end token or a stop text.
    Stop,
    /// `max_tokens` or the context length was reached.
    Length,
    /// The answer calls a tool.
    #[serde(rename = "tool_calls")]
    ToolCalls,
}

impl FinishReason {
    /// The reason's name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
            FinishReason::ToolCalls => "tool_calls",
        }
    }
}
