//! The address of a server, as a flag.

/// Parses a router's root URL; a trailing part of the API's path is dropped.
pub fn parse_url(text: &str) -> Result<String, String> {
    let url = text.trim_end_matches('/');
    let url = url.strip_suffix("/v1").unwrap_or(url);
    match reqwest::Url::parse(url) {
        Ok(parsed) if parsed.scheme() == "http" && parsed.has_host() => Ok(url.to_owned()),
        _ => Err("must be a router's address such as http://host:8080".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_apis_path_is_dropped() {
        assert_eq!(parse_url("http://h:80/v1/").unwrap(), "http://h:80");
        assert_eq!(parse_url("http://h:80").unwrap(), "http://h:80");
        for wrong in ["h:80", "https://h", "", "http://"] {
            assert!(parse_url(wrong).unwrap_err().contains("http://host:8080"), "{wrong}");
        }
    }
}
