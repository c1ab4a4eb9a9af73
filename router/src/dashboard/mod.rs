//! The live page: one self-contained HTML document, assembled once from the files in `assets`.
//!
//! Data from users and nodes reaches the document only as JSON, and is shown only as text, never as HTML. The content
//! security policy lets only the one script run whose digest it names.

use std::{fmt::Write as _, sync::LazyLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};

const FRAME: &str = include_str!("assets/page.html");
const STYLE: &str = include_str!("assets/page.css");
/// The files of the page's script module, in order; each file has one concern.
const SCRIPTS: [&str; 8] = [
    include_str!("assets/words.js"),
    include_str!("assets/dom.js"),
    include_str!("assets/picture.js"),
    include_str!("assets/figures.js"),
    include_str!("assets/receipt.js"),
    include_str!("assets/requests.js"),
    include_str!("assets/ask.js"),
    include_str!("assets/main.js"),
];
const SAMPLE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/demo/sample.png"));

/// The document and the values of its headers.
pub struct Page {
    html: String,
    /// Entity tag of this version, quotes included.
    pub tag: String,
    /// The content security policy.
    pub policy: String,
}

impl Page {
    /// The document.
    pub fn html(&self) -> &[u8] {
        self.html.as_bytes()
    }
}

static PAGE: LazyLock<Page> = LazyLock::new(assemble);

/// The assembled page.
pub fn page() -> &'static Page {
    &PAGE
}

fn assemble() -> Page {
    let script = SCRIPTS.join("\n");
    let sample = format!("data:image/png;base64,{}", STANDARD.encode(SAMPLE));
    let html = FRAME.replace("{{style}}", STYLE).replace("{{sample}}", &sample).replace("{{script}}", &script);
    let tag = format!("\"{}\"", &blake3::hash(html.as_bytes()).to_hex()[..32]);
    Page { policy: policy(&script), html, tag }
}

/// The content security policy: it allows only this document's own style and script, pictures that the user adds, and
/// requests to this router.
fn policy(script: &str) -> String {
    let mut policy = "default-src 'none'".to_owned();
    for (what, whence) in [
        ("script-src", digest(script)),
        ("style-src", digest(STYLE)),
        ("img-src", "data: blob:".to_owned()),
        ("connect-src", "'self'".to_owned()),
        ("base-uri", "'none'".to_owned()),
        ("form-action", "'none'".to_owned()),
        ("frame-ancestors", "'none'".to_owned()),
    ] {
        // Writing to a string does not fail.
        let _ = write!(policy, "; {what} {whence}");
    }
    policy
}

fn digest(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    format!("'sha256-{}'", STANDARD.encode(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text between two marks; the first must occur exactly once.
    fn between<'a>(html: &'a str, from: &str, to: &str) -> &'a str {
        assert_eq!(html.matches(from).count(), 1, "{from}");
        let (_, rest) = html.split_once(from).unwrap();
        rest.split_once(to).unwrap().0
    }

    #[test]
    fn the_policy_names_what_the_document_holds() {
        let page = assemble();
        for (from, to) in [("<style>", "</style>"), ("<script type=\"module\">", "</script>")] {
            let digest = digest(between(&page.html, from, to));
            assert!(page.policy.contains(&digest), "{from}: {}", page.policy);
        }
        assert!(!page.policy.contains("unsafe"), "{}", page.policy);
    }

    #[test]
    fn nothing_comes_from_elsewhere_and_nothing_becomes_html() {
        let page = assemble();
        let namespace = "http://www.w3.org/2000/svg";
        let bare = page.html.replace(namespace, "");
        for forbidden in ["{{", "http:", "https:", "//cdn", "innerHTML", "outerHTML", "insertAdjacentHTML", "eval("] {
            assert!(!bare.contains(forbidden), "{forbidden}");
        }
        // The policy would silently block a style or a handler in an attribute.
        for attribute in [" style=", " onclick=", " onload=", "setAttribute(\"style\"", "document.write"] {
            assert!(!bare.contains(attribute), "{attribute}");
        }
    }
}
