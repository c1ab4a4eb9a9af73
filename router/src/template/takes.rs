//! Finds the forms in which a chat template takes content and the arguments of tool calls, role by role.
//!
//! Templates of multimodal models loop over parts (`{"type": "text", ...}`, `{"type": "image"}`), templates of text
//! models concatenate a string, many do one for users and the other for assistants, and some take both. Instead of
//! reading the template's syntax tree, small conversations are rendered: a form is accepted if its words are printed
//! and its structure is not.

use minijinja::Value;

use crate::request::Form;

const WORDS: &str = "probewords";
/// A key that no template reads: it appears only if a part is printed as a whole.
const KEY: &str = "probekey";
/// A tool call's id of nine characters, as the strictest templates demand.
const CALL_ID: &str = "probecall";
const ARGUMENTS: &str = "{\"probeargument\": \"probevalue\"}";

/// A function that renders messages; `None` if the template cannot.
type Render<'a> = &'a dyn Fn(Vec<Value>) -> Option<String>;

/// The forms that a template takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Takes {
    system: Forms,
    user: Forms,
    assistant: Forms,
    tool: Forms,
    /// Whether an assistant's message may lack `content`.
    pub absent_content: bool,
    /// Whether the template takes arguments of tool calls as objects, rather than as the JSON text that clients send.
    pub argument_objects: bool,
}

/// The forms of content that the template takes in messages of one role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Forms {
    text: bool,
    parts: bool,
}

impl Takes {
    /// Finds the forms by rendering small conversations.
    pub fn probe(render: Render<'_>) -> Self {
        let user = Forms::probe(&|content| {
            let alone = render(vec![message("user", content.clone())]);
            // Templates that need a system message first are probed again with one.
            alone.or_else(|| render(vec![message("system", text()), message("user", content)]))
        });
        let user_words = if user.text || !user.parts { text() } else { parts() };
        let asked = || message("user", user_words.clone());
        let between = |messages: Vec<Value>| {
            let all = [vec![asked()], messages, vec![asked()]].concat();
            render(all.clone()).or_else(|| render(all[..all.len() - 1].to_vec()))
        };
        let assistant = Forms::probe(&|content| between(vec![message("assistant", content)]));
        let (absent_content, argument_objects) = (takes_absent(&between), wants_objects(&between));
        let tool = |content: Value| {
            let result = with(message("tool", content), &[("tool_call_id", CALL_ID.into()), ("name", "probe".into())]);
            between(vec![call(&arguments(argument_objects), absent_content), result])
        };
        Self {
            system: Forms::probe(&|content| render(vec![message("system", content), asked()])),
            user,
            assistant,
            tool: Forms::probe(&tool),
            absent_content,
            argument_objects,
        }
    }

    /// The form in which a message of `role` is handed to the template: the form in which it was `sent` if the template
    /// takes that, else the other form if it takes that. A template that takes neither gets one string.
    pub fn form(&self, role: &str, sent: Form) -> Form {
        let forms = match role {
            "system" => self.system,
            "user" => self.user,
            "assistant" => self.assistant,
            _ => self.tool,
        };
        match sent {
            Form::Absent if self.absent_content => Form::Absent,
            Form::Parts if forms.parts => Form::Parts,
            Form::Text if !forms.text && forms.parts => Form::Parts,
            _ => Form::Text,
        }
    }
}

impl Forms {
    fn probe(render: &dyn Fn(Value) -> Option<String>) -> Self {
        let comes_out = |content: Value| {
            render(content).is_some_and(|rendered| rendered.contains(WORDS) && !rendered.contains(KEY))
        };
        let marked = Value::from_pairs([("type", "text"), ("text", WORDS), (KEY, KEY)]);
        Self { text: comes_out(WORDS.into()), parts: comes_out(Value::from(vec![marked])) }
    }
}

fn text() -> Value {
    Value::from("a")
}

fn parts() -> Value {
    Value::from(vec![Value::from_pairs([("type", "text"), ("text", "a")])])
}

fn message(role: &str, content: Value) -> Value {
    Value::from_pairs([("role", Value::from(role)), ("content", content)])
}

fn with(message: Value, more: &[(&str, Value)]) -> Value {
    let keys: Vec<Value> = message.try_iter().into_iter().flatten().collect();
    let old = keys.into_iter().map(|key| (key.clone(), message.get_item(&key).unwrap_or_default()));
    Value::from_pairs(old.chain(more.iter().map(|(key, value)| (Value::from(*key), value.clone()))))
}

/// An assistant's message that calls a tool.
fn call(arguments: &Value, absent_content: bool) -> Value {
    let function = Value::from_pairs([("name", Value::from("probe")), ("arguments", arguments.clone())]);
    let call = Value::from_pairs([("id", Value::from(CALL_ID)), ("type", "function".into()), ("function", function)]);
    let calls = ("tool_calls", Value::from(vec![call]));
    if absent_content {
        Value::from_pairs([("role", Value::from("assistant")), calls])
    } else {
        with(message("assistant", "".into()), &[calls])
    }
}

fn arguments(as_object: bool) -> Value {
    if as_object { Value::from_pairs([("probeargument", "probevalue")]) } else { Value::from(ARGUMENTS) }
}

/// Whether the template renders a message without content, with or without a tool call.
fn takes_absent(between: &dyn Fn(Vec<Value>) -> Option<String>) -> bool {
    let bare = Value::from_pairs([("role", "assistant")]);
    let calls = |as_object| between(vec![call(&arguments(as_object), true)]).is_some();
    between(vec![bare]).is_some() || calls(false) || calls(true)
}

/// Whether arguments are printed correctly only as objects: as text they are missing, quoted a second time, or an
/// error.
fn wants_objects(between: &dyn Fn(Vec<Value>) -> Option<String>) -> bool {
    let rendered = |as_object| {
        [true, false].into_iter().find_map(|absent_content| between(vec![call(&arguments(as_object), absent_content)]))
    };
    let takes_text = rendered(false).is_some_and(|rendered| rendered.contains(ARGUMENTS));
    !takes_text && rendered(true).is_some_and(|rendered| rendered.contains("probevalue"))
}

#[cfg(test)]
mod tests {
    use super::super::jinja::{Clock, TEMPLATE, environment};
    use super::*;

    fn probed(source: &str) -> Takes {
        let environment = environment(source, Clock::Local).unwrap();
        Takes::probe(&|messages| {
            let variables = Value::from_pairs([("messages", Value::from(messages))]);
            environment.get_template(TEMPLATE).ok()?.render(variables).ok()
        })
    }

    fn user_form(source: &str, sent: Form) -> Form {
        probed(source).form("user", sent)
    }

    #[test]
    fn templates_that_loop_over_parts() {
        let llava = "{% for message in messages %}{{ message['role'].upper() + ': ' }}\
            {% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}\
            {% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] }}{% endfor %}\
            {% endfor %}";
        assert_eq!((user_form(llava, Form::Text), user_form(llava, Form::Parts)), (Form::Parts, Form::Parts));
        let both = "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}\
            {% for c in m.content %}{% if c.type == 'image' %}<image>{% else %}{{ c.text }}{% endif %}{% endfor %}\
            {% endif %}{% endfor %}";
        assert_eq!((user_form(both, Form::Text), user_form(both, Form::Parts)), (Form::Text, Form::Parts));
    }

    #[test]
    fn templates_that_concatenate_strings() {
        for source in [
            "{% for m in messages %}{{ m.role + ': ' + m['content'] }}{% endfor %}",
            "{% for m in messages %}{{ m.content }}{% endfor %}",
            "{% for m in messages %}{{ m.content | trim }}{% endfor %}",
            "{% for m in messages %}{{ m.content | tojson }}{% endfor %}",
            "nothing at all",
        ] {
            assert_eq!((user_form(source, Form::Text), user_form(source, Form::Parts)), (Form::Text, Form::Text));
        }
    }

    #[test]
    fn roles_differ() {
        let takes = probed(
            "{% for m in messages %}{% if m.role == 'user' %}{% for p in m.content %}{{ p.text }}{% endfor %}\
            {% else %}{{ m.role + m.content }}{% endif %}{% endfor %}",
        );
        assert_eq!(takes.form("user", Form::Text), Form::Parts);
        assert_eq!(takes.form("system", Form::Parts), Form::Text);
        assert_eq!(takes.form("assistant", Form::Text), Form::Text);
        assert_eq!((takes.absent_content, takes.form("assistant", Form::Absent)), (false, Form::Text));
    }

    #[test]
    fn arguments_are_taken_as_text_or_as_objects() {
        let calls = |inner: &str| {
            probed(&format!(
                "{{% for m in messages %}}{{{{ m.content }}}}{{% for c in m.tool_calls or [] %}}{inner}{{% endfor %}}{{% endfor %}}"
            ))
            .argument_objects
        };
        assert!(!calls("{{ c.function.arguments }}"));
        assert!(calls("{{ c.function.arguments | tojson }}"));
        assert!(calls("{% for k, v in c.function.arguments.items() %}{{ k }}={{ v }}{% endfor %}"));
        assert!(!calls(
            "{{ c.function.arguments if c.function.arguments is string else c.function.arguments | tojson }}"
        ));
        assert!(!calls("{{ c.function.name }}"));
    }
}
