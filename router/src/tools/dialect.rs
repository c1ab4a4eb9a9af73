//! The ways in which models write calls.

use clap::ValueEnum;

/// How a family of models writes a call. All of them write JSON with the function's name and its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dialect {
    /// `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, anywhere in the text: Qwen2.5, Qwen3, Hermes.
    Hermes,
    /// `{"name": ..., "parameters": {...}}` as the whole text: Llama 3.
    Llama,
    /// `[{"name": ..., "arguments": {...}}]` behind `[TOOL_CALLS]`, which is a special token and not part of the text:
    /// Mistral.
    Mistral,
    /// `{"name": ..., "arguments": {...}}` as the whole text, or a list of such objects.
    Json,
}

impl Dialect {
    /// The dialect that a chat template asks the model for; `None` if the template takes no tools.
    pub fn of_template(source: &str) -> Option<Dialect> {
        if !source.contains("tools") {
            return None;
        }
        let marks = [
            ("<tool_call>", Dialect::Hermes),
            ("[TOOL_CALLS]", Dialect::Mistral),
            ("\"parameters\"", Dialect::Llama),
            ("<|python_tag|>", Dialect::Llama),
        ];
        let found = marks.into_iter().find(|(mark, _)| source.contains(mark));
        Some(found.map_or(Dialect::Json, |(_, dialect)| dialect))
    }

    /// Texts around each call, if calls stand among other words.
    pub(super) fn marks(self) -> Option<(&'static str, &'static str)> {
        (self == Dialect::Hermes).then_some(("<tool_call>", "</tool_call>"))
    }

    /// The key under which arguments stand.
    pub(super) fn arguments_key(self) -> &'static str {
        if self == Dialect::Llama { "parameters" } else { "arguments" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_name_their_dialect() {
        let of = Dialect::of_template;
        assert_eq!(of("{% for message in messages %}{{ message.content }}{% endfor %}"), None);
        assert_eq!(of("{% if tools %}... within <tool_call></tool_call> XML tags"), Some(Dialect::Hermes));
        assert_eq!(of("{%- if tools %}[AVAILABLE_TOOLS] ... [TOOL_CALLS]"), Some(Dialect::Mistral));
        assert_eq!(of(r#"{% if tools %}{"name": function name, "parameters": dictionary}"#), Some(Dialect::Llama));
        assert_eq!(of("{{ tools | tojson }}"), Some(Dialect::Json));
    }
}
