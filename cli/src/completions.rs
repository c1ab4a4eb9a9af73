//! `secateur completions`: the script by which a shell completes this program's commands and flags.

use std::io::{Write, stdout};

use clap_complete::{Shell, generate};

use crate::{cli::CompletionsArguments, command};

/// Prints the script.
pub fn run(arguments: CompletionsArguments) -> anyhow::Result<()> {
    stdout().write_all(&script(arguments.shell))?;
    Ok(())
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    generate(shell, &mut command::whole(), "secateur", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_shell_knows_the_flags_of_commands_and_of_roles() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell)).unwrap();
            for word in ["doctor", "prefill-tokens-per-s", "max-waiting", "ship-patience", "keep-finished"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
}
