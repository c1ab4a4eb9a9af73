//! A template environment that behaves as transformers' does: trimmed blocks, Python's methods on values,
//! `raise_exception`, `strftime_now`, loop controls and the `{% generation %}` tag.
//!
//! One difference is left: `tojson` also escapes `<`, `>`, `&` and `'`. Templates use it for tools, which are refused.

use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, syntax::SyntaxConfig};

use super::strftime;

/// The one template's name in its environment.
pub const TEMPLATE: &str = "chat";

/// What a template said with `raise_exception`: the sentence is meant for the client.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Raised(pub String);

/// Compiles `source`.
pub fn environment(source: String) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    environment.set_syntax(syntax.build()?);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", |format: String| strftime::now(&format));
    environment.add_template_owned(TEMPLATE, without_generation_tags(&source))?;
    Ok(environment)
}

/// The client's message in an error, if the template raised it.
pub fn raised(error: &Error) -> Option<String> {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(raised) = error.downcast_ref::<Raised>() {
            return Some(raised.0.clone());
        }
        source = error.source();
    }
    None
}

fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "raised by the template").with_source(Raised(message)))
}

/// `{% generation %}` marks the assistant's words for training and renders its body as it is, so it becomes a condition
/// that always holds; whitespace control stays.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}") else { break };
        let tag = &rest[start + 2..start + length];
        let word = tag.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        let replaced = match word {
            "generation" => tag.replace("generation", "if true"),
            "endgeneration" => tag.replace("endgeneration", "endif"),
            _ => tag.to_owned(),
        };
        out.push_str(&rest[..start + 2]);
        out.push_str(&replaced);
        out.push_str("%}");
        rest = &rest[start + length + 2..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::context;

    fn render(source: &str) -> Result<String, Error> {
        environment(source.to_owned())?.get_template(TEMPLATE)?.render(context! { text => " <b> " })
    }

    #[test]
    fn blocks_are_trimmed_as_in_transformers() {
        assert_eq!(render("{% if true %}\n  a\n  {% endif %}\nb").unwrap(), "  a\nb");
        assert_eq!(render("{{ text.strip() }}{{ text | trim }}").unwrap(), "<b><b>");
        assert_eq!(
            render("{% for i in [1,2,3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}").unwrap(),
            "1"
        );
    }

    #[test]
    fn generation_tags_vanish() {
        assert_eq!(render("a {%- generation %} b {% endgeneration -%} c").unwrap(), "a b c");
        assert_eq!(render("{% if text %}x{% endif %}").unwrap(), "x");
    }

    #[test]
    fn what_a_template_raises_can_be_told_from_other_errors() {
        let error = render("{{ raise_exception('roles must alternate') }}").unwrap_err();
        assert_eq!(raised(&error).as_deref(), Some("roles must alternate"));
        assert_eq!(raised(&render("{{ text.nope() }}").unwrap_err()), None);
    }
}
