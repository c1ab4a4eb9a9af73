//! The version of this build.

use std::sync::LazyLock;

/// Version of the workspace.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Commit that was built, if the build was told of it by the variable `SECATEUR_COMMIT`.
pub const COMMIT: Option<&str> = option_env!("SECATEUR_COMMIT");

static LONG: LazyLock<String> = LazyLock::new(|| match COMMIT.filter(|commit| !commit.is_empty()) {
    Some(commit) => format!("{VERSION} ({commit})"),
    None => VERSION.to_owned(),
});

/// Version and commit, as `--version` shows them.
pub fn long() -> &'static str {
    &LONG
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_comes_first_and_a_commit_is_added() {
        assert!(long().starts_with(VERSION));
        assert_eq!(long() == VERSION, COMMIT.is_none_or(str::is_empty));
    }
}
