//! The marks between which a model writes its reasoning.

/// A pair of marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// The mark before the reasoning.
    pub open: &'static str,
    /// The mark behind it.
    pub close: &'static str,
}

/// Marks of the families of models: DeepSeek-R1, Qwen3, SmolLM3 and others; Mistral's Magistral; Seed; Kimi.
const KNOWN: [Marks; 4] = [
    Marks { open: "<think>", close: "</think>" },
    Marks { open: "[THINK]", close: "[/THINK]" },
    Marks { open: "<seed:think>", close: "</seed:think>" },
    Marks { open: "◁think▷", close: "◁/think▷" },
];

impl Marks {
    /// The marks that a chat template knows, if it knows any.
    pub fn of_template(source: &str) -> Option<Marks> {
        KNOWN.into_iter().find(|marks| source.contains(marks.close))
    }

    /// Whether a prompt leaves the model in the middle of its reasoning.
    pub fn is_open_at_end(self, prompt: &str) -> bool {
        prompt.trim_end().ends_with(self.open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_and_prompts_say_where_reasoning_is() {
        let marks = Marks::of_template("{{ content.split('</think>')[-1] }}").unwrap();
        assert_eq!(marks.open, "<think>");
        assert_eq!(Marks::of_template("{{ content }}"), None);
        assert!(marks.is_open_at_end("<|assistant|><think>\n"));
        assert!(!marks.is_open_at_end("<|assistant|><think>\n\n</think>\n\n"));
    }
}
