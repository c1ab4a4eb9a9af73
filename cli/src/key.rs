//! The key that this machine's commands show to a router.

/// The first of `SECATEUR_API_KEY`, the variable that a router takes its keys from; an empty one, as an unset variable of a
/// compose file gives, is none.
pub fn of_environment() -> Option<String> {
    std::env::var("SECATEUR_API_KEY").ok().as_deref().and_then(first)
}

fn first(keys: &str) -> Option<String> {
    keys.split(',').map(str::trim).find(|key| !key.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_that_is_one_is_shown() {
        assert_eq!(first("a,b").as_deref(), Some("a"));
        assert_eq!(first(", b ").as_deref(), Some("b"));
        assert_eq!((first(""), first(" , ")), (None, None));
    }
}
