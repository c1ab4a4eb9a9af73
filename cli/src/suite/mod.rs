//! Cases read from a JSONL file. A line that cannot be read is refused with file, line and field: leaving a case out,
//! or asking it without its picture, would measure something else.

pub mod expected;
pub mod file;
pub mod split;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde_json::{Map, Value, json};

use crate::{client::data_uri, usage::usage};
use expected::{Expected, Match};

const FIELDS: [&str; 9] = ["id", "images", "prompt", "messages", "answer", "match", "max_tokens", "tags", "depth"];
/// Name of the group of all cases; a tag with this name would be confused with it.
pub const ALL: &str = "all";

/// A question, with its expected answer if there is one.
#[derive(Clone, Debug)]
pub struct Case {
    /// Name of the case in messages.
    pub id: String,
    /// Pictures of the question.
    pub images: Vec<Picture>,
    /// Earlier messages of the conversation, as in a request.
    pub earlier: Vec<Value>,
    pub prompt: String,
    /// Expected answer; without one an answer is only compared with the reference's.
    pub answer: Option<Expected>,
    /// Most tokens of the answer; `None` for the command line's default.
    pub max_tokens: Option<u32>,
    /// Tags of the case; the first one is its family.
    pub tags: Vec<String>,
    /// Place of the answer in the text, from 0 (start) to 1 (end).
    pub depth: Option<f64>,
}

/// A picture of a case.
#[derive(Clone, Debug, PartialEq)]
pub enum Picture {
    /// A URL that is sent unchanged.
    Url(String),
    /// A file that is sent as a data URL. It is read when it is sent: a suite's pictures may exceed memory.
    File(PathBuf),
}

/// Reads every case of the file, in order. `how` is the match of cases that do not name one.
pub fn read(file: &Path, how: Match) -> anyhow::Result<Vec<Case>> {
    let text = fs::read_to_string(file).map_err(|error| usage(format!("--suite {}: {error}", file.display())))?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let cases = lines.map(|(number, line)| {
        case(line, number, folder, how).map_err(|reason| usage(format!("{}, line {number}: {reason}", file.display())))
    });
    let cases: Vec<Case> = cases.collect::<Result<_, _>>()?;
    if cases.is_empty() {
        return Err(usage(format!("{} has no cases: it must have one JSON object a line", file.display())));
    }
    Ok(cases)
}

fn case(line: &str, number: usize, folder: &Path, how: Match) -> Result<Case, String> {
    let fields: Map<String, Value> =
        serde_json::from_str(line).map_err(|error| format!("not a JSON object: {error}"))?;
    // A misspelt `image` for `images` would ask a question without its picture.
    if let Some(unknown) = fields.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        return Err(format!("field `{unknown}` is not known; known are {}", FIELDS.join(", ")));
    }
    let images = texts(&fields, "images")?;
    let images = images.into_iter().map(|image| picture(image, folder)).collect::<Result<_, _>>()?;
    let tags = texts(&fields, "tags")?;
    if tags.iter().any(|tag| tag == ALL || tag.is_empty()) {
        return Err("field `tags` must have no empty tag, and none named `all`, which stands for every case".to_owned());
    }
    let (earlier, prompt) = question(&fields)?;
    Ok(Case {
        id: text(&fields, "id")?.unwrap_or_else(|| format!("line {number}")),
        images,
        earlier,
        prompt,
        answer: answer(&fields, how)?,
        max_tokens: max_tokens(&fields)?,
        tags,
        depth: depth(&fields)?,
    })
}

fn text(fields: &Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match fields.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("field `{key}` must be a string")),
    }
}

fn required(fields: &Map<String, Value>, key: &str) -> Result<String, String> {
    let text = text(fields, key)?.filter(|text| !text.trim().is_empty());
    text.ok_or_else(|| format!("field `{key}` is missing or empty"))
}

/// The earlier messages and the question.
fn question(fields: &Map<String, Value>) -> Result<(Vec<Value>, String), String> {
    let messages = match (fields.get("messages"), fields.get("prompt")) {
        (None | Some(Value::Null), _) => return Ok((Vec::new(), required(fields, "prompt")?)),
        (Some(_), Some(_)) => return Err("fields `prompt` and `messages` exclude each other".to_owned()),
        (Some(messages), None) => messages,
    };
    let wrong = || {
        "field `messages` must be a list of {\"role\", \"content\"}, both strings, the last one the user's".to_owned()
    };
    let messages = messages.as_array().ok_or_else(wrong)?;
    let message = |message: &Value| {
        let (role, content) = (message["role"].as_str()?, message["content"].as_str()?);
        (message.as_object()?.len() == 2).then(|| (role.to_owned(), content.to_owned()))
    };
    let mut messages: Vec<(String, String)> = messages.iter().map(message).collect::<Option<_>>().ok_or_else(wrong)?;
    let (_, prompt) = messages.pop().filter(|(role, _)| role == "user").ok_or_else(wrong)?;
    let earlier = messages.into_iter().map(|(role, content)| json!({"role": role, "content": content}));
    Ok((earlier.collect(), prompt))
}

fn answer(fields: &Map<String, Value>, how: Match) -> Result<Option<Expected>, String> {
    let how = match text(fields, "match")? {
        None => how,
        Some(name) => {
            let wrong = || format!("field `match` must be one of {}, not `{name}`", Match::names());
            Match::named(&name).ok_or_else(wrong)?
        }
    };
    match text(fields, "answer")? {
        None => Ok(None),
        Some(text) if text.trim().is_empty() => {
            Err("field `answer` is empty; leave it out where there is none".to_owned())
        }
        Some(text) => Expected::new(text, how).map(Some).map_err(|reason| format!("field `answer`: {reason}")),
    }
}

fn max_tokens(fields: &Map<String, Value>) -> Result<Option<u32>, String> {
    match fields.get("max_tokens") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64().and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0) {
            Some(count) => Ok(Some(count)),
            None => Err("field `max_tokens` must be a whole number above 0".to_owned()),
        },
    }
}

fn texts(fields: &Map<String, Value>, key: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("field `{key}` must be a list of strings");
    let list = match fields.get(key) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(value) => value.as_array().ok_or_else(wrong)?,
    };
    list.iter().map(|value| value.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
}

fn depth(fields: &Map<String, Value>) -> Result<Option<f64>, String> {
    match fields.get("depth") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64().filter(|depth| (0.0..=1.0).contains(depth)) {
            Some(depth) => Ok(Some(depth)),
            None => Err("field `depth` must be a number from 0 to 1".to_owned()),
        },
    }
}

fn picture(image: String, folder: &Path) -> Result<Picture, String> {
    let is_url = |scheme: &str| image.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    if ["http://", "https://", "data:"].into_iter().any(is_url) {
        return Ok(Picture::Url(image));
    }
    let file = folder.join(&image);
    if file.is_file() {
        Ok(Picture::File(file))
    } else {
        Err(format!("field `images`: there is no file {}", file.display()))
    }
}

impl Case {
    /// The conversation, as in a request.
    pub fn messages(&self) -> anyhow::Result<Vec<Value>> {
        let mut content = Vec::with_capacity(self.images.len() + 1);
        for image in &self.images {
            content.push(json!({"type": "image_url", "image_url": {"url": image.url()?}}));
        }
        content.push(json!({"type": "text", "text": self.prompt}));
        let question = json!({"role": "user", "content": content});
        Ok(self.earlier.iter().cloned().chain([question]).collect())
    }
}

impl Picture {
    /// The picture's URL in a request.
    pub fn url(&self) -> anyhow::Result<String> {
        match self {
            Picture::Url(url) => Ok(url.clone()),
            Picture::File(file) => {
                let bytes = fs::read(file).with_context(|| format!("cannot read the picture {}", file.display()))?;
                // The media type is only a hint: the server detects the format from the bytes too.
                let kind =
                    image::guess_format(&bytes).map_or("application/octet-stream", |format| format.to_mime_type());
                Ok(data_uri::of(kind, &bytes))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::Usage;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

    fn read_text(text: &str) -> anyhow::Result<Vec<Case>> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.png"), PNG).unwrap();
        let file = dir.path().join("suite.jsonl");
        fs::write(&file, text).unwrap();
        let cases = read(&file, Match::Exact)?;
        for picture in cases.iter().flat_map(|case| &case.images) {
            assert!(picture.url().unwrap().contains(':'));
        }
        Ok(cases)
    }

    #[test]
    fn cases_are_read() {
        let cases = read_text(concat!(
            r#"{"images": ["a.png", "https://h/b.png", "DATA:image/png;base64,x"], "prompt": "p", "answer": "a"}"#,
            "\n\n",
            r#"{"id": "n", "images": null, "prompt": "q", "answer": "b", "tags": ["text", "needle"], "depth": 0.125}"#,
        ))
        .unwrap();
        assert_eq!((cases[0].id.as_str(), cases[0].images.len(), cases[0].tags.len()), ("line 1", 3, 0));
        assert_eq!(cases[0].images[1], Picture::Url("https://h/b.png".to_owned()));
        assert_eq!((cases[1].id.as_str(), cases[1].depth, cases[1].tags.len()), ("n", Some(0.125), 2));
    }

    #[test]
    fn conversations_and_open_questions_are_read() {
        let cases = read_text(concat!(
            r#"{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}], "max_tokens": 9}"#,
            "\n",
            r#"{"prompt": "p", "answer": "A b", "match": "contains"}"#,
        ))
        .unwrap();
        let asked = json!([{"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "q"}]}]);
        assert_eq!(Value::from(cases[0].messages().unwrap()), asked);
        assert!(cases[0].answer.is_none() && cases[0].max_tokens == Some(9));
        assert!(cases[1].answer.as_ref().unwrap().is_met_by("So: a B."));
    }

    #[test]
    fn a_file_becomes_a_data_url() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.png");
        fs::write(&file, PNG).unwrap();
        assert_eq!(Picture::File(file.clone()).url().unwrap(), "data:image/png;base64,iVBORw0KGgo=");
        fs::remove_file(&file).unwrap();
        assert!(Picture::File(file).url().unwrap_err().to_string().contains("a.png"));
    }

    #[test]
    fn errors_name_file_line_and_field() {
        let good = r#"{"prompt": "p", "answer": "a"}"#;
        for (line, named) in [
            ("{", "not a JSON object"),
            ("[1]", "not a JSON object"),
            (r#"{"answer": "a"}"#, "`prompt`"),
            (r#"{"prompt": "p", "answer": " "}"#, "`answer`"),
            (r#"{"prompt": "p", "answer": 3}"#, "`answer`"),
            (r#"{"prompt": "p", "answer": "(", "match": "regex"}"#, "`answer`"),
            (r#"{"prompt": "p", "answer": "a", "match": "fuzzy"}"#, "`match`"),
            (r#"{"prompt": "p", "max_tokens": 0}"#, "`max_tokens`"),
            (r#"{"prompt": "p", "messages": []}"#, "`messages`"),
            (r#"{"messages": []}"#, "`messages`"),
            (r#"{"messages": [{"role": "assistant", "content": "a"}]}"#, "`messages`"),
            (r#"{"messages": [{"role": "user", "content": ["a"]}]}"#, "`messages`"),
            (r#"{"prompt": 3, "answer": "a"}"#, "`prompt`"),
            (r#"{"prompt": "p", "answer": "a", "id": 1}"#, "`id`"),
            (r#"{"prompt": "p", "answer": "a", "image": ["a.png"]}"#, "`image`"),
            (r#"{"prompt": "p", "answer": "a", "images": "a.png"}"#, "`images`"),
            (r#"{"prompt": "p", "answer": "a", "images": [1]}"#, "`images`"),
            (r#"{"prompt": "p", "answer": "a", "images": ["missing.png"]}"#, "missing.png"),
            (r#"{"prompt": "p", "answer": "a", "tags": "x"}"#, "`tags`"),
            (r#"{"prompt": "p", "answer": "a", "tags": ["all"]}"#, "`tags`"),
            (r#"{"prompt": "p", "answer": "a", "depth": 2}"#, "`depth`"),
            (r#"{"prompt": "p", "answer": "a", "depth": "0"}"#, "`depth`"),
        ] {
            let error = read_text(&format!("{good}\n{line}\n")).unwrap_err();
            let text = error.to_string();
            assert!(error.is::<Usage>(), "{line}");
            assert!(text.contains("suite.jsonl, line 2: ") && text.contains(named), "{line}: {text}");
        }
    }

    #[test]
    fn a_suite_without_cases_is_refused() {
        assert!(read_text("\n \n").unwrap_err().is::<Usage>());
        assert!(
            read(Path::new("/no/such.jsonl"), Match::Exact).unwrap_err().to_string().contains("--suite /no/such.jsonl")
        );
    }

    #[test]
    fn the_demos_suite_is_whole() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo/eval/suite.jsonl");
        assert_eq!(read(&file, Match::Exact).unwrap().len(), 617);
    }
}
