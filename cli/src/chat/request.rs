//! The body of a request.

use serde_json::{Value, json};

use super::policy::Policy;

/// What every request of a conversation asks for; `None` leaves a choice to the server.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Name of the model.
    pub model: String,
    /// Most tokens of an answer.
    pub max_tokens: Option<u32>,
    /// Sampling temperature.
    pub temperature: Option<f64>,
    /// Seed of sampling.
    pub seed: Option<i64>,
    /// The policies to ask for.
    pub policy: Policy,
}

/// The body of a request with those messages.
pub fn body(settings: &Settings, messages: Vec<Value>) -> serde_json::Result<Vec<u8>> {
    let mut body = json!({
        "model": settings.model, "messages": messages, "stream": true, "stream_options": {"include_usage": true},
    });
    let set = [
        ("max_tokens", settings.max_tokens.map(Value::from)),
        ("temperature", settings.temperature.map(Value::from)),
        ("seed", settings.seed.map(Value::from)),
        // Other servers do not know the field.
        ("secateur", Some(settings.policy.extension()).filter(|asked| !asked.is_empty()).map(Value::Object)),
    ];
    for (key, value) in set {
        if let Some(value) = value {
            body[key] = value;
        }
    }
    serde_json::to_vec(&body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use secateur_transfer::TransferPolicy;

    #[test]
    fn only_what_is_set_is_sent() {
        let none =
            Settings { model: "m".into(), max_tokens: None, temperature: None, seed: None, policy: Policy::default() };
        let read = |settings: &Settings| {
            serde_json::from_slice::<Value>(&body(settings, vec![json!({"role": "user", "content": "q"})]).unwrap())
                .unwrap()
        };
        let found = read(&none);
        assert_eq!(found.as_object().unwrap().len(), 4, "{found}");
        assert_eq!((&found["model"], &found["stream_options"]["include_usage"]), (&json!("m"), &json!(true)));
        let policy = Policy { visual: None, transfer: Some(TransferPolicy::Dense) };
        let found = read(&Settings { max_tokens: Some(7), temperature: Some(0.0), seed: Some(-1), policy, ..none });
        assert_eq!((&found["max_tokens"], &found["temperature"], &found["seed"]), (&json!(7), &json!(0.0), &json!(-1)));
        assert_eq!(found["secateur"], json!({"transfer": {"policy": "dense"}}));
    }
}
