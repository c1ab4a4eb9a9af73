//! A URL that the allow-list admits: what to connect to, and what to ask there.

use std::net::{IpAddr, SocketAddr};

use url::{Host, Position, Url};

use super::{
    address::{Reach, reach},
    failure::Failure,
    hosts::{HostRule, canonical, widest_reach},
};

/// Longest URL, in bytes. Signed URLs of object stores take up to two thousand.
const URL_BYTES_MAX: usize = 8_192;

/// A URL that may be fetched as far as its words say; its host's addresses are judged by [`Target::permits`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    url: Url,
    /// The host in its canonical form.
    host: String,
    /// The host's address, if the URL names one.
    literal: Option<IpAddr>,
    port: u16,
    widest: Reach,
}

impl Target {
    /// Reads a URL.
    pub fn of(text: &str, rules: &[HostRule]) -> Result<Self, Failure> {
        if text.len() > URL_BYTES_MAX {
            return Err(Failure::TooLong(URL_BYTES_MAX));
        }
        Self::admitted(Url::parse(text).map_err(|_| Failure::Malformed)?, rules)
    }

    /// Follows a redirect. A redirect from TLS to no TLS is not followed, since anybody on the way could have had a
    /// say in it.
    pub fn redirected(&self, location: &str, rules: &[HostRule]) -> Result<Self, Failure> {
        let url = self.url.join(location).ok().filter(|url| url.as_str().len() <= URL_BYTES_MAX);
        let next = url.and_then(|url| Self::admitted(url, rules).ok());
        next.filter(|next| next.is_tls() || !self.is_tls()).ok_or(Failure::Redirected)
    }

    fn admitted(mut url: Url, rules: &[HostRule]) -> Result<Self, Failure> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Failure::Malformed);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Failure::Credentials);
        }
        url.set_fragment(None);
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(Failure::Malformed);
        };
        let literal = match host {
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
            Host::Domain(_) => None,
        };
        let host = canonical(&host).ok_or(Failure::Malformed)?;
        let widest = widest_reach(rules, &host, port).ok_or(Failure::NotListed)?;
        Ok(Self { url, host, literal, port, widest })
    }

    /// The URL in the form that all its spellings share.
    pub fn key(&self) -> &str {
        self.url.as_str()
    }

    /// Whether the connection is over TLS.
    pub fn is_tls(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The host: a name in lower case and ASCII, or an address, in brackets if of IPv6.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The socket's address, if the URL names an address.
    pub fn literal(&self) -> Option<SocketAddr> {
        self.literal.map(|address| (address, self.port).into())
    }

    /// Host and port, for a lookup.
    pub fn host_and_port(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The value of the header `Host`: the port only where it is not the scheme's own.
    pub fn authority(&self) -> String {
        if self.url.port().is_some() { self.host_and_port() } else { self.host.clone() }
    }

    /// Path and query.
    pub fn path(&self) -> &str {
        &self.url[Position::BeforePath..Position::AfterQuery]
    }

    /// Whether the host may be reached, given all its addresses. One that may not be reached rules out the others: a
    /// host that has both has no good reason for it.
    pub fn permits(&self, addresses: &[SocketAddr]) -> bool {
        !addresses.is_empty() && addresses.iter().all(|address| reach(address.ip()) <= self.widest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Vec<HostRule> {
        ["*", "a.test:8443", "store.test:9000!private"].map(|entry| entry.parse().unwrap()).to_vec()
    }

    fn of(text: &str) -> Result<Target, Failure> {
        Target::of(text, &rules())
    }

    #[test]
    fn a_url_becomes_what_to_ask_whom() {
        let target = of("HTTPS://A.Test.:8443/x%20y/ä.png?q=1#part").unwrap();
        assert_eq!((target.host(), target.authority().as_str()), ("a.test", "a.test:8443"));
        assert_eq!((target.host_and_port().as_str(), target.path()), ("a.test:8443", "/x%20y/%C3%A4.png?q=1"));
        assert!(target.is_tls() && target.literal().is_none());
        let plain = of("http://bücher.example").unwrap();
        assert_eq!((plain.authority().as_str(), plain.path()), ("xn--bcher-kva.example", "/"));
        assert_eq!(plain.host_and_port(), "xn--bcher-kva.example:80");
        assert_eq!(of("http://a.test:80/x#y").unwrap().key(), of("http://A.TEST/x").unwrap().key());
    }

    #[test]
    fn an_address_is_one_in_every_spelling() {
        for text in [
            "http://127.0.0.1/",
            "http://127.0.0.1./",
            "http://2130706433/",
            "http://017700000001/",
            "http://0x7f.1/",
            "http://0x7f000001/",
            "http://127.1/",
            "http://１２７.０.０.１/",
            "http:\\\\127.0.0.1\\",
            "http:127.0.0.1",
            "ht\ntp://127.0.0.1/",
        ] {
            let target = of(text).unwrap();
            assert_eq!(target.literal(), Some("127.0.0.1:80".parse().unwrap()), "{text}");
            assert!(!target.permits(&[target.literal().unwrap()]), "{text}");
        }
        let six = of("http://[2606:0::1]/").unwrap();
        assert_eq!((six.authority().as_str(), six.literal()), ("[2606::1]", Some("[2606::1]:80".parse().unwrap())));
        assert!(six.permits(&[six.literal().unwrap()]));
    }

    #[test]
    fn what_is_not_admitted_says_why() {
        for (text, failure) in [
            ("http://", Failure::Malformed),
            ("http://a b/", Failure::Malformed),
            ("http://1.2.3.256/", Failure::Malformed),
            ("http://a.test:99999/", Failure::Malformed),
            ("file:///etc/passwd", Failure::Malformed),
            ("ftp://a.test/", Failure::Malformed),
            ("http://./", Failure::Malformed),
            ("http://user@a.test/", Failure::Credentials),
            ("http://user:word@a.test/", Failure::Credentials),
            ("http://:word@a.test/", Failure::Credentials),
            ("http://a.test@b.test/", Failure::Credentials),
            ("http://a.test:22/", Failure::NotListed),
            ("http://b.test:8443/", Failure::NotListed),
            ("https://store.test:9001/", Failure::NotListed),
        ] {
            assert_eq!(of(text), Err(failure), "{text}");
        }
        let long = format!("http://a.test/{}", "x".repeat(URL_BYTES_MAX));
        assert_eq!(of(&long), Err(Failure::TooLong(URL_BYTES_MAX)));
    }

    #[test]
    fn all_addresses_must_be_near_enough() {
        let target = |text: &str| of(text).unwrap();
        let all = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let public = target("http://a.test/");
        assert!(public.permits(&all(&["1.1.1.1:80", "[2606::1]:80"])));
        assert!(!public.permits(&all(&["1.1.1.1:80", "10.0.0.1:80"])));
        assert!(!public.permits(&[]));
        let store = target("http://store.test:9000/");
        assert!(store.permits(&all(&["10.0.0.1:9000", "[::1]:9000", "1.1.1.1:9000"])));
        assert!(!store.permits(&all(&["169.254.169.254:9000"])));
        assert!(!target("http://store.test/").permits(&all(&["10.0.0.1:80"])), "another port is another entry");
    }

    #[test]
    fn redirects_are_judged_like_urls() {
        let here = of("https://a.test/x/y.png?q").unwrap();
        let to = |location: &str| here.redirected(location, &rules());
        assert_eq!(to("z.png").unwrap().key(), "https://a.test/x/z.png");
        assert_eq!(to("//b.test/z").unwrap().key(), "https://b.test/z");
        assert_eq!(to("https://store.test:9000/z").unwrap().widest, Reach::Private);
        let long = "x".repeat(URL_BYTES_MAX);
        for location in [
            "http://a.test/",
            "file:///etc/passwd",
            "https://u@a.test/",
            "https://a.test:22/",
            "gopher://a",
            "//",
            &long,
        ] {
            assert_eq!(to(location), Err(Failure::Redirected), "{location}");
        }
        let plain = of("http://a.test/").unwrap();
        assert!(plain.redirected("https://a.test/", &rules()).is_ok());
        assert!(plain.redirected("/b", &rules()).is_ok());
    }
}
