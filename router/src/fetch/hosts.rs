//! The operator's allow-list: hosts and ports that pictures may be fetched from.

use std::{num::NonZeroU16, str::FromStr};

use url::Host;

use super::address::Reach;

/// Mark of an entry whose host may have private addresses.
const PRIVATE: &str = "!private";
/// Ports that an entry without a port admits.
const WEB_PORTS: [u16; 2] = [80, 443];

/// An entry of the allow-list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRule {
    names: Names,
    /// The only port, instead of the two of the web.
    port: Option<NonZeroU16>,
    widest: Reach,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Names {
    /// Every host.
    Any,
    /// Every host whose name ends so, with the dot that it begins with.
    Below(String),
    /// This host.
    One(String),
}

/// Why an entry of the allow-list cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostRuleError {
    /// The entry has another form.
    #[error("`{0}` must be HOST, *.HOST or *, each with :PORT or without, or HOST:PORT!private")]
    Malformed(String),
    /// The entry would open more of a private network than one server.
    #[error("`{0}` must name one host and its port, as in store.internal:9000!private")]
    WidePrivate(String),
}

impl FromStr for HostRule {
    type Err = HostRuleError;

    fn from_str(text: &str) -> Result<Self, HostRuleError> {
        let text = text.trim();
        let (entry, widest) = match text.strip_suffix(PRIVATE) {
            Some(entry) => (entry, Reach::Private),
            None => (text, Reach::Public),
        };
        let malformed = || HostRuleError::Malformed(text.to_owned());
        let (names, port) = split_port(entry).ok_or_else(malformed)?;
        let names = Names::read(names).ok_or_else(malformed)?;
        if widest == Reach::Private && (port.is_none() || !matches!(names, Names::One(_))) {
            return Err(HostRuleError::WidePrivate(text.to_owned()));
        }
        Ok(Self { names, port, widest })
    }
}

impl HostRule {
    fn admits(&self, host: &str, port: u16) -> bool {
        let is_named = match &self.names {
            Names::Any => true,
            Names::Below(end) => host.len() > end.len() && host.ends_with(end.as_str()),
            Names::One(name) => host == name,
        };
        is_named && self.port.map_or(WEB_PORTS.contains(&port), |only| only.get() == port)
    }
}

impl Names {
    fn read(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        if let Some(parent) = text.strip_prefix("*.") {
            let parent = Host::parse(parent).ok().filter(|host| matches!(host, Host::Domain(_)))?;
            return Some(Self::Below(format!(".{}", canonical(&parent)?)));
        }
        canonical(&Host::parse(text).ok()?).map(Self::One)
    }
}

/// A host as it is compared: in lower case, in ASCII, without the dot at the end of a full name; `None` for what
/// is no name.
pub fn canonical<S: AsRef<str>>(host: &Host<S>) -> Option<String> {
    match host {
        Host::Domain(name) => {
            let name = name.as_ref().strip_suffix('.').unwrap_or(name.as_ref());
            // URLs allow more, such as `!` and `*`, which no host has in its name.
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            (!name.is_empty() && name.bytes().all(is_name)).then(|| name.to_owned())
        }
        Host::Ipv4(address) => Some(address.to_string()),
        Host::Ipv6(address) => Some(format!("[{address}]")),
    }
}

/// How far away the addresses of a host may be, in its [`canonical`] form; `None` if no rule admits it at this port.
pub fn widest_reach(rules: &[HostRule], host: &str, port: u16) -> Option<Reach> {
    rules.iter().filter(|rule| rule.admits(host, port)).map(|rule| rule.widest).max()
}

/// Splits off the port behind the last part of a name; an IPv6 address is in brackets.
fn split_port(text: &str) -> Option<(&str, Option<NonZeroU16>)> {
    let name_end = text.find(']').map_or(0, |end| end + 1);
    match text[name_end..].find(':') {
        None => Some((text, None)),
        Some(colon) => {
            let (name, port) = text.split_at(name_end + colon);
            port[1..].parse().ok().map(|port| (name, Some(port)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(entries: &[&str]) -> Vec<HostRule> {
        entries.iter().map(|entry| entry.parse().unwrap()).collect()
    }

    fn widest(entry: &str, host: &str, port: u16) -> Option<Reach> {
        widest_reach(&rules(&[entry]), &canonical(&Host::parse(host).unwrap()).unwrap(), port)
    }

    #[test]
    fn a_name_admits_itself_on_the_webs_ports() {
        for host in ["pics.example.com", "PICS.example.COM", "pics.example.com."] {
            assert_eq!(widest("Pics.Example.com", host, 443), Some(Reach::Public), "{host}");
        }
        assert_eq!(widest("pics.example.com", "pics.example.com", 80), Some(Reach::Public));
        assert_eq!(widest("pics.example.com", "pics.example.com", 8080), None);
        for host in ["example.com", "a.pics.example.com", "pics.example.com.evil.test", "xpics.example.com"] {
            assert_eq!(widest("pics.example.com", host, 443), None, "{host}");
        }
    }

    #[test]
    fn a_star_stands_for_any_subdomain_or_any_host() {
        for host in ["a.example.com", "a.b.example.com"] {
            assert_eq!(widest("*.example.com", host, 443), Some(Reach::Public), "{host}");
        }
        for host in ["example.com", "evilexample.com", "a.example.com.evil.test"] {
            assert_eq!(widest("*.example.com", host, 443), None, "{host}");
        }
        for host in ["anything.test", "1.2.3.4", "[2606::1]"] {
            assert_eq!(widest("*", host, 80), Some(Reach::Public), "{host}");
            assert_eq!(widest("*", host, 81), None, "{host}");
        }
    }

    #[test]
    fn a_port_in_an_entry_is_the_only_one() {
        assert_eq!(widest("a.test:8443", "a.test", 8443), Some(Reach::Public));
        assert_eq!(widest("a.test:8443", "a.test", 443), None);
        assert_eq!(widest("*:8443", "a.test", 8443), Some(Reach::Public));
        assert_eq!(widest("[::1]:9000!private", "[0:0:0:0:0:0:0:1]", 9000), Some(Reach::Private));
    }

    #[test]
    fn private_addresses_are_for_the_marked_entry_alone() {
        let rules = rules(&["*", "*:9000", "store.internal:9000!private"]);
        assert_eq!(widest_reach(&rules, "store.internal", 9000), Some(Reach::Private));
        assert_eq!(widest_reach(&rules, "store.internal", 443), Some(Reach::Public));
        assert_eq!(widest_reach(&rules, "other.internal", 9000), Some(Reach::Public));
    }

    #[test]
    fn names_and_addresses_are_compared_whatever_their_spelling() {
        assert_eq!(widest("bücher.example", "xn--bcher-kva.example", 443), Some(Reach::Public));
        assert_eq!(widest("BÜCHER.example", "bücher.example", 443), Some(Reach::Public));
        assert_eq!(widest("1.2.3.4", "0x1020304", 80), Some(Reach::Public));
        assert_eq!(widest("1.2.3.4", "16909060", 80), Some(Reach::Public));
    }

    #[test]
    fn entries_of_another_form_are_refused_by_name() {
        for entry in [
            "",
            " ",
            ":80",
            "a b",
            "a.test:",
            "a.test:0",
            "a.test:65536",
            "a.test:x",
            "http://a.test",
            "a.test/x",
            "*.*",
            "a.*",
            "*a.test",
            "*.1.2.3.4",
            "*.",
            ".",
            "user@a.test",
            "[::1",
            "::1",
            "a.test!private!private",
            "a.test!privat",
            "a.test;b.test",
        ] {
            let error = entry.parse::<HostRule>().unwrap_err();
            assert_eq!(error, HostRuleError::Malformed(entry.trim().to_owned()), "{entry}");
        }
        for entry in ["*!private", "*:9000!private", "*.a.test:9000!private", "a.test!private"] {
            let error = entry.parse::<HostRule>().unwrap_err();
            assert_eq!(error, HostRuleError::WidePrivate(entry.to_owned()), "{entry}");
        }
    }
}
