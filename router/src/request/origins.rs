//! Where the fields of a translated request stand in the request that the client sent.
//!
//! An API that is served by translating its body into another API's is validated there, and errors then name fields
//! that the client never wrote. What is recorded here while translating gives them back the client's own names.

use std::collections::HashMap;

use secateur_proto::ServiceError;

use super::{chat::ChatJob, message::Part};

/// Paths in the translated body, each with the client's own path for the same thing. A path that has no entry, and
/// stands below none, is the same in both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(HashMap<String, String>);

impl Origins {
    /// Records that whatever stands at or below `translated` is the client's `original`. What follows the longest
    /// recorded path is kept: with `tools[0].function` as `tools[0]`, `tools[0].function.name` is `tools[0].name`.
    pub fn record(&mut self, translated: impl Into<String>, original: impl Into<String>) {
        self.0.insert(translated.into(), original.into());
    }

    /// The client's own path of a translated field.
    pub fn path(&self, translated: &str) -> String {
        let mut end = translated.len();
        loop {
            if let Some(original) = self.0.get(&translated[..end]) {
                return format!("{original}{}", &translated[end..]);
            }
            match translated[..end].rfind(['.', '[']) {
                Some(above) => end = above,
                None => return translated.to_owned(),
            }
        }
    }

    /// An error about the translated body as an error about the client's: its field, and the field that its message
    /// begins with.
    pub fn error(&self, error: ServiceError) -> ServiceError {
        let ends = |character: char| character.is_whitespace() || ",:;".contains(character);
        let named = error.message.find(ends).unwrap_or(error.message.len());
        let message = format!("{}{}", self.path(&error.message[..named]), &error.message[named..]);
        let param = error.param.as_deref().map(|param| self.path(param));
        ServiceError { message, param, ..error }
    }

    /// Gives every part of a job that was read from the translated body the client's own name, for the errors that are
    /// found later.
    pub fn rename(&self, job: &mut ChatJob) {
        let rename = |param: &mut String| *param = self.path(param);
        for message in &mut job.messages {
            for part in &mut message.parts {
                if let Part::Text { param, .. } = part {
                    rename(param);
                }
            }
            message.fields.iter_mut().for_each(|field| rename(&mut field.param));
        }
        job.pictures.iter_mut().for_each(|picture| rename(&mut picture.param));
        job.template_kwargs.iter_mut().for_each(|field| rename(&mut field.param));
        if let Some(structured) = &mut job.generation.sampling.structured {
            rename(&mut structured.param);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secateur_proto::ErrorCode;

    fn origins() -> Origins {
        let mut origins = Origins::default();
        origins.record("stop", "stop_sequences");
        origins.record("messages[1]", "messages[0]");
        origins.record("messages[1].content[0].image_url.url", "messages[0].content[2].source.data");
        origins.record("messages[10]", "messages[7]");
        origins.record("tools[0].function", "tools[0]");
        origins
    }

    #[test]
    fn the_longest_recorded_path_counts_and_the_rest_is_kept() {
        for (translated, original) in [
            ("stop", "stop_sequences"),
            ("stop[3]", "stop_sequences[3]"),
            ("stop_token_ids", "stop_token_ids"),
            ("messages", "messages"),
            ("messages[1].role", "messages[0].role"),
            ("messages[1].content[0].image_url.url", "messages[0].content[2].source.data"),
            ("messages[1].content[0].image_url", "messages[0].content[0].image_url"),
            ("messages[10].role", "messages[7].role"),
            ("tools[0].function.name", "tools[0].name"),
            ("temperature", "temperature"),
            ("", ""),
        ] {
            assert_eq!(origins().path(translated), original);
        }
    }

    #[test]
    fn errors_name_the_clients_field_in_both_places() {
        let error = |message: &str, param: Option<&str>| {
            let error = ServiceError::new(ErrorCode::InvalidRequest, message);
            let error = origins().error(match param {
                Some(param) => error.with_param(param),
                None => error,
            });
            (error.message, error.param)
        };
        let (message, param) = error("tools[0].function.name is required", Some("tools[0].function.name"));
        assert_eq!((&*message, param.as_deref()), ("tools[0].name is required", Some("tools[0].name")));
        let (message, param) = error("stop[0], and more", Some("messages[1]"));
        assert_eq!((&*message, param.as_deref()), ("stop_sequences[0], and more", Some("messages[0]")));
        assert_eq!(error("stop", None), ("stop_sequences".to_owned(), None));
        assert_eq!(error("the stop is wrong", None).0, "the stop is wrong");
        assert_eq!(error("", None).0, "");
    }
}
