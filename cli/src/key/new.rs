//! `secateur key new`: a random key, shown once, and its lines for the file of keys that a router is given.
//!
//! The lines go to standard output and the key to standard error, so that the lines can be appended to the file.

use std::io::{Write, stderr, stdout};

use anyhow::{Context, anyhow};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use clap::{Args, Subcommand};
use ring::rand::{SecureRandom, SystemRandom};
use secateur_router::keys::{KeyDigest, NAME_RULE, is_name};

/// What a key begins with, as clients expect it.
const PREFIX: &str = "sk-";
/// Random bytes of a key.
const RANDOM_BYTES: usize = 32;

/// Arguments of `secateur key`.
#[derive(Debug, Args)]
pub struct KeyArguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make an API key: its lines for the router's file of keys on standard output, the key itself on standard error
    New {
        /// Name of the key in metrics and logs: 1 to 64 letters, digits, dots, underscores and hyphens
        #[arg(value_name = "NAME", value_parser = name)]
        name: String,
    },
}

/// Runs the command.
pub fn run(arguments: KeyArguments) -> anyhow::Result<()> {
    let Action::New { name } = arguments.action;
    let key = random()?;
    // The lines come first: a key that no router could know would be of no use.
    stdout().write_all(lines(&name, &key).as_bytes()).context("the lines could not be written")?;
    writeln!(stderr(), "The key of {name}, which is not shown again:\n{key}")?;
    Ok(())
}

fn name(text: &str) -> Result<String, String> {
    if is_name(text) { Ok(text.to_owned()) } else { Err(format!("a name has {NAME_RULE}")) }
}

fn random() -> anyhow::Result<String> {
    let mut bytes = [0; RANDOM_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow!("the system gives no random bytes"))?;
    Ok(format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)))
}

fn lines(name: &str, key: &str) -> String {
    format!("[[key]]\nname = \"{name}\"\nsha256 = \"{}\"\n", KeyDigest::of(key).to_hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_and_their_lines_do_not_have_them() {
        let (one, other) = (random().unwrap(), random().unwrap());
        assert!(one != other && one.len() > 40 && one.starts_with(PREFIX));
        let lines = lines("batch-jobs", &one);
        assert!(lines.starts_with("[[key]]\nname = \"batch-jobs\"\nsha256 = \""));
        assert!(lines.contains(&KeyDigest::of(&one).to_hex()) && !lines.contains(&one));
    }

    #[test]
    fn a_name_is_checked_before_a_key_is_made() {
        assert!(name("batch-jobs").is_ok());
        assert!(name("two words").unwrap_err().contains("hyphens"));
    }

    #[test]
    fn the_help_says_what_a_name_is() {
        let command = Action::augment_subcommands(clap::Command::new("key"));
        let new = command.find_subcommand("new").unwrap();
        let help = new.get_positionals().next().and_then(|name| name.get_help()).unwrap().to_string();
        assert!(help.contains(NAME_RULE), "{help}");
    }
}
