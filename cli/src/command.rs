//! The whole command line as data: every command, and every role with its settings.

use clap::{Args, Command, CommandFactory};
use secateur_decode_node::DecodeSettings;
use secateur_prefill_node::PrefillSettings;
use secateur_router::RouterSettings;

use crate::cli::Cli;

/// The command line including the roles' settings, which [`Cli`] leaves to the roles to parse.
pub fn whole() -> Command {
    Cli::command()
        .mut_subcommand("router", with_settings::<RouterSettings>)
        .mut_subcommand("prefill", with_settings::<PrefillSettings>)
        .mut_subcommand("decode", with_settings::<DecodeSettings>)
}

fn with_settings<T: Args>(role: Command) -> Command {
    let about = role.get_about().cloned().unwrap_or_default();
    // `about` is set after the settings, whose own description would replace it.
    T::augment_args(Command::new(role.get_name().to_owned())).about(about)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_have_their_settings() {
        let whole = whole();
        whole.clone().debug_assert();
        for (role, setting) in [("router", "max_waiting"), ("prefill", "step_tokens"), ("decode", "max_running")] {
            let role = whole.find_subcommand(role).unwrap();
            assert!(role.get_arguments().any(|argument| argument.get_id() == setting), "{setting}");
        }
    }
}
