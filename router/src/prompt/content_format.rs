//! Whether a chat template takes `content` as a list of parts or as one string.
//!
//! LLaVA's and other multimodal templates loop over parts (`{"type": "text", ...}`, `{"type": "image"}`); text templates
//! concatenate a string. vLLM reads the template's syntax tree to tell; we render a probe instead, since what matters is
//! what comes out: a template that is given parts and prints the words alone takes parts. A template that takes a string
//! fails on a list or prints its repr, in which the key `type` shows.

use minijinja::{Environment, Value, context};

use super::jinja::TEMPLATE;

/// How a message's content is handed to the template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentFormat {
    /// A list of `{"type": ...}` objects.
    Parts,
    /// One string; pictures are written into it as image tokens.
    Text,
}

const PROBE: &str = "probewords";

/// Renders the probe.
pub fn detect(environment: &Environment<'_>) -> ContentFormat {
    let part = Value::from_pairs([("type", Value::from("text")), ("text", Value::from(PROBE))]);
    let content = Value::from_iter([part]);
    let message = Value::from_pairs([("role", Value::from("user")), ("content", content)]);
    let rendered = environment.get_template(TEMPLATE).and_then(|template| {
        template.render(context! { messages => Value::from_iter([message]), add_generation_prompt => true })
    });
    match rendered {
        Ok(text) if text.contains(PROBE) && !text.contains("'type'") && !text.contains("\"type\"") => {
            ContentFormat::Parts
        }
        _ => ContentFormat::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::jinja::environment;

    fn detected(source: &str) -> ContentFormat {
        detect(&environment(source.to_owned()).unwrap())
    }

    #[test]
    fn templates_that_loop_over_parts() {
        let llava = "{% for message in messages %}{{ message['role'].upper() + ': ' }}\
            {% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}\
            {% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] }}{% endfor %}\
            {% endfor %}";
        assert_eq!(detected(llava), ContentFormat::Parts);
        let both = "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}\
            {% for c in m.content %}{% if c.type == 'image' %}<image>{% else %}{{ c.text }}{% endif %}{% endfor %}\
            {% endif %}{% endfor %}";
        assert_eq!(detected(both), ContentFormat::Parts);
    }

    #[test]
    fn templates_that_concatenate_strings() {
        assert_eq!(
            detected("{% for m in messages %}{{ m.role + ': ' + m['content'] }}{% endfor %}"),
            ContentFormat::Text
        );
        assert_eq!(detected("{% for m in messages %}{{ m.content }}{% endfor %}"), ContentFormat::Text);
        assert_eq!(detected("{% for m in messages %}{{ m.content | trim }}{% endfor %}"), ContentFormat::Text);
    }
}
