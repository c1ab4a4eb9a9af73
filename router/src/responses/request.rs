//! The body of `POST /v1/responses`, from JSON to a validated [`ResponsesJob`].

use secateur_proto::ServiceError;
use serde_json::{Map, Value};

use super::{asked, format::ResponseFormat, input, names::Names, options, refused, tools};
use crate::{
    openai::{chat, fields::Fields},
    reply::{Format, ReplyId},
    request::{ChatJob, Generation, Limits, Origins, PictureUrl},
};

/// A validated request for a response.
#[derive(Debug)]
pub struct ResponsesJob {
    /// The chat request that it means.
    chat: ChatJob,
    /// The client's names for the fields of `chat`.
    names: Names,
    /// What the reply repeats.
    asked: Map<String, Value>,
}

impl ResponsesJob {
    /// Reads and validates a request body.
    pub fn parse(body: &Value, limits: &Limits) -> Result<Self, ServiceError> {
        let fields = Fields::of(body, "")?;
        refused::check(&fields)?;
        let mut origins = Origins::default();
        let messages = input::translate(&fields, &mut origins)?;
        let tools::Translated { tools, choice, allowed } = tools::translate(&fields, &mut origins)?;
        let mut body = options::translate(&fields, &mut origins)?;
        let further = [("messages", Some(messages)), ("tools", tools), ("tool_choice", choice)];
        body.extend(further.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        let mut names = Names::new(origins);
        let mut chat = chat::parse(&Value::Object(body), limits).map_err(|error| names.error(error))?;
        allow(&mut chat, allowed.as_deref());
        names.rename(&mut chat);
        let asked = asked::read(&fields)?;
        Ok(Self { chat, names, asked })
    }

    /// The validated request without its prompt.
    pub fn generation(&self) -> &Generation {
        &self.chat.generation
    }

    /// The writer of the reply.
    pub fn format(&self, reply: ReplyId) -> Box<dyn Format> {
        Box::new(ResponseFormat::new(reply, self.asked.clone()))
    }

    /// The pictures that the request gives by URL, each URL once.
    pub fn urls(&self) -> Vec<PictureUrl> {
        self.chat.urls()
    }

    /// The chat request, and the names that its errors have to be given.
    pub fn into_chat(self) -> (ChatJob, Names) {
        (self.chat, self.names)
    }
}

/// Leaves only the allowed functions, also to what the model is told of.
fn allow(chat: &mut ChatJob, allowed: Option<&[String]>) {
    let Some(allowed) = allowed else { return };
    if let Some(tools) = &mut chat.generation.tools {
        tools.functions.retain(|function| allowed.contains(&function.name));
    }
    let told = chat.template_kwargs.iter_mut().find(|field| field.name == "tools");
    if let Some(Value::Array(told)) = told.map(|field| &mut field.value) {
        let name = |tool: &Value| Some(tool.get("function")?.get("name")?.as_str()?.to_owned());
        told.retain(|tool| name(tool).is_some_and(|name| allowed.contains(&name)));
    }
}

#[cfg(test)]
mod tests {
    use secateur_proto::ErrorCode;
    use serde_json::json;

    use super::*;
    use crate::tools::Choice;

    const LIMITS: Limits = Limits { images_max: 1, image_bytes_max: 100, vocab: 300 };
    const PNG: &str = "data:image/png;base64,iVBORw0KGgo=";

    fn parsed(extra: Value) -> Result<ResponsesJob, ServiceError> {
        let mut body = json!({"model": "m", "input": "hi"});
        for (key, value) in extra.as_object().unwrap() {
            body[key] = value.clone();
        }
        ResponsesJob::parse(&body, &LIMITS)
    }

    fn tool(name: &str) -> Value {
        json!({"type": "function", "name": name, "parameters": {"type": "object"}, "strict": true})
    }

    #[test]
    fn a_request_becomes_the_chat_request_that_it_means() {
        let image = json!({"type": "input_image", "image_url": PNG, "detail": "auto"});
        let body = json!({"input": [{"role": "user", "content": [image]}], "instructions": "i", "max_output_tokens": 7,
            "stream": true, "temperature": 0, "top_k": 5, "include": ["message.output_text.logprobs"],
            "tools": [tool("f")], "tool_choice": "required", "secateur": {"forced_token_ids": [1]}});
        let job = parsed(body).unwrap();
        let generation = job.generation();
        assert_eq!((generation.model.as_deref(), generation.choices), (Some("m"), 1));
        assert_eq!((generation.max_tokens.tokens, generation.max_tokens.field), (Some(7), "max_output_tokens"));
        assert_eq!((generation.sampling.top_k, generation.sampling.top_logprobs), (Some(5), Some(0)));
        assert_eq!(generation.sampling.forced, [1]);
        assert!(generation.stream.is_some());
        assert_eq!(generation.tools.as_ref().unwrap().choice, Choice::Required);
        let (chat, _) = job.into_chat();
        assert_eq!(chat.messages.iter().map(|message| &*message.role).collect::<Vec<_>>(), ["system", "user"]);
        assert_eq!(chat.pictures[0].param, "input[0].content[0].image_url");
        let told = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
        assert_eq!(chat.template_kwargs[0].value, told);
    }

    #[test]
    fn pictures_may_be_on_the_web_and_of_little_detail() {
        let image = json!({"type": "input_image", "image_url": "https://x.test/a.png", "detail": "low"});
        let job = parsed(json!({"input": [{"role": "user", "content": [image]}]})).unwrap();
        let wanted = PictureUrl { url: "https://x.test/a.png".into(), param: "input[0].content[0].image_url".into() };
        assert_eq!(job.urls(), [wanted]);
        assert!(job.generation().visual.is_low_detail);
    }

    #[test]
    fn tools_that_are_not_allowed_are_neither_told_of_nor_called() {
        let choice = json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "g"}]});
        let (chat, _) = parsed(json!({"tools": [tool("f"), tool("g")], "tool_choice": choice})).unwrap().into_chat();
        let tools = chat.generation.tools.unwrap();
        assert_eq!(tools.functions.iter().map(|function| &*function.name).collect::<Vec<_>>(), ["g"]);
        assert_eq!(chat.template_kwargs[0].value.as_array().unwrap().len(), 1);
    }

    #[test]
    fn errors_name_the_clients_fields() {
        let format =
            |schema: Value| json!({"text": {"format": {"type": "json_schema", "name": "x", "schema": schema}}});
        let part = |part: Value| json!({"input": [{"role": "user", "content": [part]}]});
        for (extra, param, message) in [
            (json!({"input": [{"role": "user", "content": null}]}), "input[0].content", "input[0].content is required"),
            (part(json!({"type": "input_text"})), "input[0].content[0].text", "input[0].content[0].text is required"),
            (
                part(json!({"type": "input_image", "detail": "low"})),
                "input[0].content[0].image_url",
                "input[0].content[0].image_url is required",
            ),
            (
                part(json!({"type": "input_image", "image_url": PNG, "detail": "all"})),
                "input[0].content[0].detail",
                "input[0].content[0].detail must be auto, low or high, not \"all\"",
            ),
            (json!({"max_output_tokens": 0}), "max_output_tokens", "max_output_tokens must be at least 1"),
            (
                json!({"max_output_tokens": 2, "min_tokens": 3}),
                "min_tokens",
                "min_tokens must be at most max_output_tokens (2), not 3",
            ),
            (
                json!({"tools": [tool("a b")]}),
                "tools[0].name",
                "tools[0].name must be 1 to 128 letters, digits, underscores, hyphens or dots",
            ),
            (
                json!({"tools": [tool("f")], "tool_choice": {"type": "function", "name": "g"}}),
                "tool_choice.name",
                "tool_choice.name must be the name of one of the tools",
            ),
            (format(json!(5)), "text.format.schema", "text.format.schema must be a JSON schema"),
            (json!({"temperature": 3}), "temperature", "temperature must be between 0 and 2, not 3"),
            (
                json!({"text": {"format": {"type": "json_object"}}, "guided_regex": "a"}),
                "guided_regex",
                "guided_regex asks for a second form of the answer; give one",
            ),
        ] {
            let error = parsed(extra).unwrap_err();
            assert_eq!((error.param.as_deref(), &*error.message), (Some(param), message));
        }
        let job = parsed(format(json!({"type": "object"}))).unwrap();
        assert_eq!(job.generation().sampling.structured.as_ref().unwrap().param, "text.format.schema");
        let damaged = part(json!({"type": "input_image", "image_url": "data:image/png;base64,aGVsbG8="}));
        let error = parsed(damaged).unwrap_err();
        assert_eq!(
            (error.code, error.param.as_deref()),
            (ErrorCode::InvalidImage, Some("input[0].content[0].image_url"))
        );
        let long = ServiceError::new(ErrorCode::ContextLengthExceeded, "the limit is 5; messages takes at least 6");
        let error = parsed(json!({})).unwrap().names.error(long.with_param("messages"));
        assert_eq!(
            (&*error.message, error.param.as_deref()),
            ("the limit is 5; input takes at least 6", Some("input"))
        );
    }
}
