//! The key that this machine's commands send to a router.

/// The first key in `SECATEUR_API_KEY`, the variable that a router takes its keys from. An empty value, which an unset
/// variable of a compose file produces, counts as unset.
pub fn of_environment() -> Option<String> {
    std::env::var("SECATEUR_API_KEY").ok().as_deref().and_then(first)
}

/// The first key of a list; `None` if it has none.
pub fn first(keys: &str) -> Option<String> {
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
