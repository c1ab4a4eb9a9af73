//! The link between prefill and decode: the existing one, or a shaped one.
//!
//! ```text
//! bucket.rs      token bucket: when bytes may pass (plain data)
//! shaper.rs      a TCP proxy before a decode node that lets bytes pass at the bucket's rate
//! reached.rs     the rate that a shaper reaches on this machine
//! laid.rs        the links of one cluster: shapers, and their measurements
//! ```

mod bucket;
mod laid;
mod reached;
mod shaper;

use std::{fmt, str::FromStr};

pub use laid::{Figures, ShapedLink};

/// Limits on rates, in Mbit/s. At lower rates shipments exceed the nodes' deadlines; no network reaches higher ones.
const RATE_MIN: f64 = 1.0;
const RATE_MAX: f64 = 400_000.0;

/// A link over which rows are measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Link {
    /// The existing link, unshaped.
    Unshaped,
    /// A link shaped to this rate.
    Shaped(Rate),
}

/// The rate of a link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    mbit_s: f64,
}

/// Error for a text that names no link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no link; write none, or a rate of 1mbit to 400gbit, such as 500mbit or 2.5gbit")]
pub struct UnknownLink(String);

impl Rate {
    /// The rate in millions of bits per second.
    pub fn mbit_s(self) -> f64 {
        self.mbit_s
    }

    /// The rate in bytes per second.
    fn bytes_s(self) -> f64 {
        self.mbit_s * 1e6 / 8.0
    }
}

impl FromStr for Link {
    type Err = UnknownLink;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Link::Unshaped);
        }
        let rate = |unit: &str, unit_mbit_s: f64| {
            let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
            let mbit_s = number * unit_mbit_s;
            (RATE_MIN..=RATE_MAX).contains(&mbit_s).then_some(Rate { mbit_s })
        };
        let found = rate("mbit", 1.0).or_else(|| rate("gbit", 1_000.0));
        found.map(Link::Shaped).ok_or_else(|| UnknownLink(text.to_owned()))
    }
}

impl fmt::Display for Link {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Link::Unshaped => out.write_str("none"),
            Link::Shaped(rate) if rate.mbit_s >= 1_000.0 => write!(out, "{}gbit", rate.mbit_s / 1_000.0),
            Link::Shaped(rate) => write!(out, "{}mbit", rate.mbit_s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_and_written_alike() {
        for (text, mbit_s) in [("500mbit", 500.0), ("2.5gbit", 2_500.0), ("1gbit", 1_000.0), ("400gbit", 400_000.0)] {
            let link: Link = text.parse().unwrap();
            assert_eq!((link, link.to_string().as_str()), (Link::Shaped(Rate { mbit_s }), text));
        }
        assert_eq!(("none".parse(), Link::Unshaped.to_string().as_str()), (Ok(Link::Unshaped), "none"));
        assert_eq!(Rate { mbit_s: 8.0 }.bytes_s(), 1e6);
        for text in ["", "1", "1kbit", "0mbit", "-1gbit", "NaNmbit", "infgbit", "401gbit", "fast", "1 gbit", "0.5mbit"]
        {
            assert_eq!(text.parse::<Link>(), Err(UnknownLink(text.to_owned())), "{text}");
        }
    }
}
