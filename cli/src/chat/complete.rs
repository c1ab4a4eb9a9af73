//! Completion of commands and of their paths, for the editor.

use rustyline::{
    Context, Helper, Result,
    completion::{Completer, FilenameCompleter, Pair},
    highlight::Highlighter,
    hint::Hinter,
    validate::Validator,
};

use super::command::NAMES;

/// Commands whose words are paths.
const WITH_PATHS: [&str; 2] = ["/image ", "/save "];

/// Completes the name of a command, and the paths behind `/image` and `/save`.
#[derive(Default)]
pub struct Completion {
    files: FilenameCompleter,
}

/// The commands that begin so; none for a line that is no command or has its name.
fn names(typed: &str) -> Vec<&'static str> {
    NAMES.into_iter().filter(|name| typed.starts_with('/') && name.starts_with(typed)).collect()
}

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> Result<(usize, Vec<Pair>)> {
        if WITH_PATHS.iter().any(|command| line.starts_with(command) && at >= command.len()) {
            return self.files.complete_path(line, at);
        }
        let pair = |name: &str| Pair { display: name.to_owned(), replacement: format!("{name} ") };
        Ok((0, names(line.get(..at).unwrap_or(line)).into_iter().map(pair).collect()))
    }
}

impl Hinter for Completion {
    type Hint = String;
}

impl Highlighter for Completion {}

impl Validator for Completion {}

impl Helper for Completion {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed() {
        assert_eq!(names("/re"), ["/reset", "/retry"]);
        assert_eq!(names("/").len(), NAMES.len());
        for other in ["", "re", "/help me", "/x"] {
            assert!(names(other).is_empty(), "{other}");
        }
    }
}
