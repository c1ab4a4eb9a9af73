//! The live page: one self-contained HTML document, assembled once from the files in `assets`.
//!
//! Data from users, nodes and models reaches the document only as JSON, and is shown only as text, never as HTML; the
//! Markdown of an answer becomes elements that the script makes one by one. The content security policy lets only the
//! one script run whose digest it names.

use std::{fmt::Write as _, sync::LazyLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};

const FRAME: &str = include_str!("assets/page.html");
/// The files of the page's style sheet, in order.
const STYLES: [&str; 3] =
    [include_str!("assets/base.css"), include_str!("assets/talk.css"), include_str!("assets/cluster.css")];
/// The files of the page's script module, in order; each file has one concern, and uses what stands before it, or what
/// the last file sets in motion.
const SCRIPTS: [&str; 21] = [
    include_str!("assets/words.js"),
    include_str!("assets/dom.js"),
    include_str!("assets/settings.js"),
    include_str!("assets/inlines.js"),
    include_str!("assets/markdown.js"),
    include_str!("assets/receipt.js"),
    include_str!("assets/pictures.js"),
    include_str!("assets/stream.js"),
    include_str!("assets/turns.js"),
    include_str!("assets/ask.js"),
    include_str!("assets/composer.js"),
    include_str!("assets/rates.js"),
    include_str!("assets/charts.js"),
    include_str!("assets/now.js"),
    include_str!("assets/picture.js"),
    include_str!("assets/saved.js"),
    include_str!("assets/troubles.js"),
    include_str!("assets/latency.js"),
    include_str!("assets/links.js"),
    include_str!("assets/requests.js"),
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
    let (script, style) = (SCRIPTS.join("\n"), STYLES.join("\n"));
    let sample = format!("data:image/png;base64,{}", STANDARD.encode(SAMPLE));
    let html = FRAME.replace("{{style}}", &style).replace("{{sample}}", &sample).replace("{{script}}", &script);
    let tag = format!("\"{}\"", &blake3::hash(html.as_bytes()).to_hex()[..32]);
    Page { policy: policy(&script, &style), html, tag }
}

/// The content security policy: it allows only this document's own style and script, pictures that the user adds, and
/// requests to this router.
fn policy(script: &str, style: &str) -> String {
    let mut policy = "default-src 'none'".to_owned();
    for (what, whence) in [
        ("script-src", digest(script)),
        ("style-src", digest(style)),
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
        for forbidden in ["{{", "http:", "https:", "//cdn", "@import", "url("] {
            assert!(!bare.contains(forbidden), "{forbidden}");
        }
        for parser in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "setHTMLUnsafe",
            "createContextualFragment",
            "DOMParser",
            "srcdoc",
            "eval(",
            "Function(",
            "import(",
        ] {
            assert!(!bare.contains(parser), "{parser}");
        }
        // The policy would silently block a style or a handler in an attribute.
        // A link in an answer leads to the web or nowhere, and the page that it opens learns nothing of this one.
        assert!(bare.contains("[\"http\", \"https\"].includes(url.protocol.slice(0, -1))"));
        assert!(bare.contains("rel: \"noopener noreferrer nofollow\""));
        for attribute in [" style=", " onclick=", " onload=", "setAttribute(\"style\"", "document.write"] {
            assert!(!bare.contains(attribute), "{attribute}");
        }
    }

    #[test]
    fn every_file_is_part_of_the_page_and_a_screenful_or_ten() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/dashboard/assets");
        let page = assemble();
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.lines().count() < 400, "{}", path.display());
            if path.extension().is_some_and(|kind| kind != "html") {
                assert!(page.html.contains(&text), "{} is not embedded", path.display());
            }
        }
    }
}
