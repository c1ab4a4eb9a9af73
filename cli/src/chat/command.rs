//! Commands inside a conversation: lines that begin with `/`.

use std::path::PathBuf;

use super::policy::Change;

/// What `/help` prints.
pub const HELP: &str = "\
/image PATH...                 pictures of the next message: PNG, JPEG, WebP or GIF
/system [TEXT]                 the system message from here on; without TEXT none
/policy [visual=METHOD[:KEEP]] [transfer=POLICY]
                               what requests ask for from here on; auto leaves it to the router; alone: shows it
/retry                         sends the last message again
/undo                          drops the last message and its answer
/reset                         begins a new conversation
/save FILE                     writes the conversation as JSON, in the form of a request
/stats                         figures of all answers, and the last receipt
/help                          this list
/quit                          ends; so do Ctrl-D and, at the prompt, Ctrl-C

Ctrl-C during an answer stops it and keeps what was said.
A line that ends with \\ goes on in the next one; lines between two lines of \"\"\" are one message.";

/// Every command, for completion.
pub const NAMES: [&str; 10] =
    ["/help", "/image", "/policy", "/quit", "/reset", "/retry", "/save", "/stats", "/system", "/undo"];

/// A command.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Adds pictures to the next message.
    Image(Vec<PathBuf>),
    /// Sets the system message.
    System(Option<String>),
    /// Changes the policies to ask for; without changes, shows them.
    Policy(Vec<Change>),
    /// Sends the last message again.
    Retry,
    /// Drops the last turn.
    Undo,
    /// Drops every turn.
    Reset,
    /// Writes the conversation to a file.
    Save(PathBuf),
    /// Shows figures of the conversation.
    Stats,
    /// Shows the commands.
    Help,
    /// Ends the conversation.
    Quit,
}

/// Parses a line that begins with `/`; the error says what is wrong.
pub fn parse(line: &str) -> Result<Command, String> {
    let line = line.trim();
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    match name {
        "/image" => match paths(rest)? {
            paths if paths.is_empty() => Err("/image needs the path of a picture".to_owned()),
            paths => Ok(Command::Image(paths)),
        },
        "/system" => Ok(Command::System((!rest.is_empty()).then(|| rest.to_owned()))),
        "/policy" => rest.split_whitespace().map(Change::parse).collect::<Result<_, _>>().map(Command::Policy),
        "/save" => match <[PathBuf; 1]>::try_from(paths(rest)?) {
            Ok([file]) => Ok(Command::Save(file)),
            Err(_) => Err("/save needs the path of one file".to_owned()),
        },
        "/retry" => alone(name, rest, Command::Retry),
        "/undo" => alone(name, rest, Command::Undo),
        "/reset" => alone(name, rest, Command::Reset),
        "/stats" => alone(name, rest, Command::Stats),
        "/help" => alone(name, rest, Command::Help),
        "/quit" => alone(name, rest, Command::Quit),
        _ => {
            let way_out = "a message that begins with / goes between two lines of \"\"\"";
            Err(format!("there is no command {name}; /help lists them, and {way_out}"))
        }
    }
}

fn alone(name: &str, rest: &str, command: Command) -> Result<Command, String> {
    if rest.is_empty() { Ok(command) } else { Err(format!("{name} takes nothing, not `{rest}`")) }
}

/// Paths as a shell would split them, `~/` being the user's home.
fn paths(words: &str) -> Result<Vec<PathBuf>, String> {
    let words = shlex::split(words).ok_or_else(|| format!("a quotation mark is not closed in: {words}"))?;
    Ok(words.into_iter().map(expanded).collect())
}

fn expanded(word: String) -> PathBuf {
    match (word.strip_prefix("~/"), std::env::home_dir()) {
        (Some(below), Some(home)) => home.join(below),
        _ => word.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read() {
        let image = Command::Image(vec!["a b.png".into(), "c.png".into(), "d e".into()]);
        assert_eq!(parse("/image 'a b.png'  c.png d\\ e ").unwrap(), image);
        assert_eq!(parse("/system  Be brief. ").unwrap(), Command::System(Some("Be brief.".to_owned())));
        assert_eq!(parse("/system").unwrap(), Command::System(None));
        assert_eq!(parse("/policy").unwrap(), Command::Policy(Vec::new()));
        let Command::Policy(changes) = parse("/policy visual=none transfer=dense").unwrap() else { panic!("policy") };
        assert_eq!(changes.len(), 2);
        assert_eq!(parse("/save a.json").unwrap(), Command::Save("a.json".into()));
        assert_eq!(parse("/quit ").unwrap(), Command::Quit);
        let Command::Save(home) = parse("/save ~/a.json").unwrap() else { panic!("save") };
        assert_eq!(home, std::env::home_dir().map_or("~/a.json".into(), |home| home.join("a.json")));
    }

    #[test]
    fn every_command_is_known_and_explained() {
        for name in NAMES {
            assert!(HELP.lines().any(|line| line.starts_with(name)), "{name}");
            let parsed = ["", " x"].map(|rest| parse(&format!("{name}{rest}")));
            assert!(parsed.iter().any(Result::is_ok), "{name}");
        }
    }

    #[test]
    fn a_wrong_line_is_explained() {
        for (line, named) in [
            ("/image", "/image"),
            ("/image 'a", "quotation"),
            ("/save", "/save"),
            ("/save a b", "/save"),
            ("/retry now", "now"),
            ("/policy speed=1", "speed=1"),
            ("/usr/bin is a folder", "/usr/bin"),
            ("/", "/help"),
        ] {
            let why = parse(line).unwrap_err();
            assert!(why.contains(named), "{line}: {why}");
        }
    }
}
