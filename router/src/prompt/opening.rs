//! Where the prompt ends and the answer begins.

use secateur_proto::{ErrorCode, ServiceError};

use crate::request::{ChatJob, Opening, Part};

/// Cuts `rendered` behind the words of the last message, if the answer continues them. As in transformers, white space
/// behind the words stays if the template kept it.
pub fn cut(job: &ChatJob, rendered: &mut String) -> Result<(), ServiceError> {
    if job.opening != Opening::Continue {
        return Ok(());
    }
    let refused =
        |message: &str| Err(ServiceError::new(ErrorCode::InvalidRequest, message).with_param("continue_final_message"));
    let last = job.messages.last().and_then(|message| message.parts.iter().rev().find_map(text));
    let Some(words) = last.filter(|words| !words.trim().is_empty()) else {
        return refused("continue_final_message needs a last message with text");
    };
    let Some(start) = rendered.rfind(words.trim()) else {
        return refused("continue_final_message is not possible: the chat template changes the last message");
    };
    let kept = words.trim_start();
    let is_kept = rendered[start..].starts_with(kept);
    rendered.truncate(start + if is_kept { kept.len() } else { kept.trim_end().len() });
    Ok(())
}

fn text(part: &Part) -> Option<&str> {
    match part {
        Part::Text { text, .. } => Some(text),
        Part::Picture => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{openai::chat, request::Limits};
    use serde_json::json;

    fn cut_of(words: &str, rendered: &str) -> Result<String, ServiceError> {
        let body = json!({"messages": [{"role": "assistant", "content": words}], "continue_final_message": true});
        let job = chat::parse(&body, &Limits { images_max: 0, image_bytes_max: 0, vocab: 300 }).unwrap();
        let mut rendered = rendered.to_owned();
        cut(&job, &mut rendered).map(|()| rendered)
    }

    #[test]
    fn the_prompt_ends_with_the_last_words() {
        assert_eq!(cut_of("Sure: ", "<a>Sure: <end>\n").unwrap(), "<a>Sure: ");
        assert_eq!(cut_of("Sure: ", "<a>Sure:<end>\n").unwrap(), "<a>Sure:");
        assert_eq!(cut_of(" Sure", "Sure <a>Sure<end>\n").unwrap(), "Sure <a>Sure");
        for (words, rendered) in [("Sure", "<a>SURE<end>"), (" ", "<a> <end>")] {
            assert_eq!(cut_of(words, rendered).unwrap_err().param.as_deref(), Some("continue_final_message"));
        }
    }
}
