//! `secateur reference`: docs/configuration.md, written from the command line's own definitions.

use std::{
    fmt::Write as _,
    io::{Write as _, stdout},
};

use clap::{Arg, ArgAction, Command};

use crate::command;

/// Programs that can also be configured by environment and file.
const ROLES: [&str; 3] = ["router", "prefill", "decode"];
const COMMANDS: [&str; 10] = ["up", "chat", "plan", "eval", "bench", "doctor", "synth", "completions", "health", "key"];
const INTRODUCTION: &str = "# Configuration

Written by `secateur reference` from the definitions that the programs read their settings by; not to be edited. To renew it:

```sh
cargo run --release -- reference > docs/configuration.md
```

The roles (`secateur router`, `prefill`, `decode`) take a setting from a flag, else from the environment, else from the TOML
file that `--config FILE` or `SECATEUR_CONFIG` names, else they take the default. In the file a setting has the name in the
column *file*; lists are TOML arrays, flags without a value are `true` or `false`. `--print-config` prints what is in force,
each value with its source. A value that is out of range, an unknown setting, a file that does not read: exit status 2, and
an error that names it. The other commands have flags alone, and some variables of the environment.
";

/// Prints the page.
pub fn run() -> anyhow::Result<()> {
    stdout().write_all(page().as_bytes())?;
    Ok(())
}

fn page() -> String {
    let whole = command::whole();
    let mut page = INTRODUCTION.to_owned();
    for name in ROLES.iter().chain(&COMMANDS) {
        let Some(command) = whole.find_subcommand(name) else { continue };
        if !command.has_subcommands() {
            section(&mut page, name, command, ROLES.contains(name));
        }
        for inner in command.get_subcommands() {
            section(&mut page, &format!("{name} {}", inner.get_name()), inner, false);
        }
    }
    page
}

fn section(page: &mut String, name: &str, command: &Command, is_role: bool) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = writeln!(page, "\n## `secateur {name}`\n\n{about}.\n");
    let columns = if is_role { ["flag", "environment", "file"].as_slice() } else { &["flag", "environment"] };
    let _ = writeln!(page, "| {} | default | allowed | what it does |", columns.join(" | "));
    let _ = writeln!(page, "|{}", "---|".repeat(columns.len() + 3));
    for argument in command.get_arguments().filter(|argument| is_shown(argument)) {
        let (help, default) = help(argument);
        let mut cells = vec![flag(argument), environment(argument)];
        if is_role {
            cells.push(key(argument));
        }
        cells.extend([default, allowed(command, argument), help]);
        let _ = writeln!(page, "| {} |", cells.join(" | "));
    }
}

fn is_shown(argument: &Arg) -> bool {
    !argument.is_hide_set() && !matches!(argument.get_id().as_str(), "help" | "version")
}

fn flag(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let takes_value = argument.get_action().takes_values();
    let values: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    match argument.get_long() {
        Some(long) if takes_value && !values.is_empty() => format!("`--{long} {}`", values.join(" ")),
        Some(long) => format!("`--{long}`"),
        None => format!("`{}`", values.join(" ")),
    }
}

fn environment(argument: &Arg) -> String {
    argument.get_env().map(|name| format!("`{}`", name.to_string_lossy())).unwrap_or_default()
}

/// The setting's name in a configuration file; empty for settings that a file cannot contain.
fn key(argument: &Arg) -> String {
    match argument.get_id().as_str() {
        "config" | "print_config" => String::new(),
        key => format!("`{key}`"),
    }
}

/// Description of a setting, and its default, which is given in words if it is not a constant.
fn help(argument: &Arg) -> (String, String) {
    let text = argument.get_long_help().or_else(|| argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
    let constants: Vec<String> =
        argument.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    let is_flag = matches!(argument.get_action(), ArgAction::SetTrue | ArgAction::SetFalse);
    let (text, in_words) = match text.split_once("[default: ") {
        Some((before, rest)) => {
            let (words, after) = rest.split_once(']').unwrap_or((rest, ""));
            (format!("{}{after}", before.trim_end().trim_end_matches(';')), words.to_owned())
        }
        None => (text, String::new()),
    };
    let default = match constants.as_slice() {
        _ if is_flag => "off".to_owned(),
        [] if argument.is_required_set() => "(needed)".to_owned(),
        [] => in_words,
        values => format!("`{}`", values.join(",")),
    };
    (text, default)
}

/// The names to choose from, or the range of numbers.
fn allowed(command: &Command, argument: &Arg) -> String {
    if !argument.get_action().takes_values() {
        return String::new();
    }
    let names = argument.get_possible_values();
    if names.is_empty() {
        range(command, argument).unwrap_or_default()
    } else {
        names.iter().map(|value| format!("`{}`", value.get_name())).collect::<Vec<_>>().join(", ")
    }
}

/// The range of a number. The definition does not expose it, so it is read from the refusal of a number out of range.
fn range(command: &Command, argument: &Arg) -> Option<String> {
    let long = argument.get_long()?;
    let lenient = command.clone().no_binary_name(true).mut_args(|argument| argument.required(false));
    let refusal = |value: &str| {
        let error = lenient.clone().try_get_matches_from([format!("--{long}={value}")]).err()?.to_string();
        let (_, limits) = error.split_once(" is not in ")?;
        let (least, most) = limits.lines().next()?.trim().split_once("..=")?;
        Some(format!("{least} to {most}"))
    };
    refusal("-1").or_else(|| refusal(&u64::MAX.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RENEW: &str = "cargo run --release -- reference > docs/configuration.md";

    #[test]
    fn the_page_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == page(), "docs/configuration.md is stale; renew it with: {RENEW}");
        assert!(page().contains(RENEW));
    }

    #[test]
    fn every_command_is_on_it_but_itself() {
        let whole = command::whole();
        for command in whole.get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            assert!(name == "help" || ROLES.contains(&name) || COMMANDS.contains(&name), "{name} is missing");
        }
    }

    #[test]
    fn a_setting_has_all_that_can_be_known_of_it() {
        let page = page();
        let line = |start: &str| page.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned();
        let waiting = line("| `--max-waiting N`");
        for cell in ["`SECATEUR_ROUTER_MAX_WAITING`", "`max_waiting`", "`256`", "0 to 100000", "429"] {
            assert!(waiting.contains(cell), "{cell}: {waiting}");
        }
        let timeout = line("| `--request-timeout SECONDS`");
        assert!(timeout.contains("1 to 3600"), "{timeout}");
        assert!(line("| `--placement").contains("`auto`, `disaggregated`, `colocated`"));
        assert!(line("| `--kv-memory").contains("| a quarter of the memory"), "{}", line("| `--kv-memory"));
        assert!(line("| `--decode HOST:PORT,...`").contains("(needed)"));
    }
}
