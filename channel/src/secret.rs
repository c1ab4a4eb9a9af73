//! The secret that the programs of a cluster share.

use std::{convert::Infallible, fmt, path::Path, path::PathBuf, str::FromStr};

use subtle::ConstantTimeEq as _;
use tonic::codegen::http::HeaderValue;

/// Least number of characters: a shorter secret can be guessed.
const CHARS_MIN: usize = 16;
/// Most characters: the secret is sent with every call.
const CHARS_MAX: usize = 512;

/// The cluster's secret. It is never printed, neither in logs nor by `{:?}`.
#[derive(Clone)]
pub struct Secret(String);

/// Reason why a secret cannot be used. Never contains the secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The secret was given twice.
    #[error("both --cluster-secret-file and --cluster-secret (or SECATEUR_CLUSTER_SECRET) were given; give one")]
    Twice,
    /// The file cannot be read.
    #[error("--cluster-secret-file: cannot read {}: {source}", path.display())]
    Read {
        /// Path as given.
        path: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    /// The secret is too short or too long.
    #[error("{setting}: the secret has {chars} characters; it must have {CHARS_MIN} to {CHARS_MAX}")]
    Length {
        /// Setting that gave the secret.
        setting: &'static str,
        /// Number of characters of the secret.
        chars: usize,
    },
    /// The secret has a blank, a control character, or a character that is not ASCII.
    #[error(
        "{setting}: the secret has a character that is not visible ASCII; try the output of `openssl rand -hex 32`"
    )]
    Characters {
        /// Setting that gave the secret.
        setting: &'static str,
    },
}

impl Secret {
    /// Reads the secret from a file; white space around it, such as a line end, is ignored.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let read = std::fs::read_to_string(path);
        let text = read.map_err(|source| SecretError::Read { path: path.to_owned(), source })?;
        Self(text).checked("--cluster-secret-file")
    }

    /// The secret without white space around it, if it is valid. Errors name `setting`.
    pub fn checked(&self, setting: &'static str) -> Result<Self, SecretError> {
        let text = self.0.trim();
        let chars = text.chars().count();
        if !(CHARS_MIN..=CHARS_MAX).contains(&chars) {
            return Err(SecretError::Length { setting, chars });
        }
        if text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(SecretError::Characters { setting })
        }
    }

    /// Whether `shown` is this secret. Takes constant time, so that timing does not reveal how much of it is right.
    pub fn is(&self, shown: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(shown).into()
    }

    /// The secret as call metadata, marked sensitive so that no layer below logs it or keeps it in a compression table.
    pub(crate) fn to_header(&self) -> Option<HeaderValue> {
        // A checked secret is visible ASCII, which is always a valid header value.
        let mut value = HeaderValue::from_str(&self.0).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// Parser for the command line. It accepts everything, since clap would print a refused value; [`Secret::checked`] does
/// the checks.
impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "correct-horse-battery-staple";

    fn secret(text: &str) -> Result<Secret, SecretError> {
        Secret(text.to_owned()).checked("--cluster-secret")
    }

    #[test]
    fn it_is_compared_whole_and_without_the_lines_end() {
        let good = secret(&format!("{GOOD}\n")).unwrap();
        assert!(good.is(GOOD.as_bytes()));
        for wrong in ["", "correct-horse-battery-stapl", "correct-horse-battery-staplf", "Correct-horse-battery-staple"]
        {
            assert!(!good.is(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_a_secret_is_refused_and_not_shown() {
        let refused = |text: &str| secret(text).unwrap_err().to_string();
        assert!(refused("short-secret").contains("16 to 512"));
        assert!(refused(&"x".repeat(513)).contains("513"));
        for text in ["white space inside it", "näher-bei-zwanzig-zeichen"] {
            let message = refused(text);
            assert!(message.contains("--cluster-secret") && !message.contains(text), "{message}");
        }
        assert!(Secret::read(Path::new("/no/such")).unwrap_err().to_string().contains("--cluster-secret-file"));
    }

    #[test]
    fn nothing_prints_it() {
        let good = secret(GOOD).unwrap();
        assert!(!format!("{good:?} {:?}", good.to_header().unwrap()).contains("horse"));
    }
}
