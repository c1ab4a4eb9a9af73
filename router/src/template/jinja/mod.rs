//! A template environment that behaves like that of transformers: trimmed blocks, Python's methods on values and
//! Python's way of printing them, `tojson` as `json.dumps`, `raise_exception`, `strftime_now`, loop controls and the
//! `{% generation %}` tag.
//!
//! `tests/fixtures/templates` holds templates and expressions with the output of transformers.

mod arguments;
mod error;
mod filters;
mod generation;
mod json;
mod methods;
mod python;
mod strftime;
mod strings;

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value,
    syntax::SyntaxConfig,
    value::{Kwargs, Rest},
};
use minijinja_contrib::globals;

pub use strftime::Clock;

/// The one template's name in its environment.
pub const TEMPLATE: &str = "chat";

/// The message of a template's `raise_exception`, which is meant for the client.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Raised(pub String);

/// Compiles `source`. `strftime_now` reads `clock`.
pub fn environment(source: &str, clock: Clock) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    environment.set_syntax(syntax.build()?);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_formatter(|out, _, value| out.write_str(&python::text(value)).map_err(Error::from));
    environment.set_unknown_method_callback(methods::call);
    filters::add(&mut environment);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", move |format: Option<String>, named: Kwargs| -> Result<String, Error> {
        let format = format.map_or_else(|| named.get::<String>("format"), Ok)?;
        Ok(strftime::format(&clock.now(), &format))
    });
    environment.add_function("dict", filters::dict);
    environment.add_function("cycler", |items: Rest<Value>| globals::cycler(items.0));
    environment.add_function("joiner", globals::joiner);
    environment.remove_global("debug");
    environment.add_template_owned(TEMPLATE, generation::without_tags(source))?;
    Ok(environment)
}

/// The message for the client in an error, if the template raised it.
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

fn raise_exception(message: &Value) -> Result<String, Error> {
    let message = python::text(message).into_owned();
    Err(Error::new(ErrorKind::InvalidOperation, "raised by the template").with_source(Raised(message)))
}

#[cfg(test)]
mod tests;
