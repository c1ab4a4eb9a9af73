//! How soon an answer is wanted: vLLM's `priority`, OpenAI's `service_tier`, and `timeout`.

use std::time::Duration;

use secateur_proto::ServiceError;

use super::fields::Fields;
use crate::request::{Class, Urgency};

/// Reads the three fields. A `service_tier` other than `flex` and `batch` asks for nothing that there is here.
pub fn parse(fields: &Fields) -> Result<Urgency, ServiceError> {
    let class = match fields.text("service_tier")? {
        Some("flex" | "batch") => Class::Batch,
        _ => Class::Interactive,
    };
    let priority = fields.integer("priority")?.unwrap_or(0).clamp(i64::MIN.into(), i64::MAX.into());
    let timeout = fields.number_where("timeout", "a number of seconds above 0", |seconds| seconds > 0.0)?;
    Ok(Urgency {
        class,
        // Clamped to this range above.
        priority: priority as i64,
        timeout: timeout.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(body: Value) -> Result<Urgency, ServiceError> {
        parse(&Fields::of(&body, "").unwrap())
    }

    #[test]
    fn tiers_priorities_and_timeouts_are_read() {
        assert_eq!(read(json!({"service_tier": null, "priority": null, "timeout": null})).unwrap(), Urgency::default());
        for (tier, class) in [("flex", Class::Batch), ("batch", Class::Batch), ("auto", Class::Interactive)] {
            assert_eq!(read(json!({"service_tier": tier})).unwrap().class, class, "{tier}");
        }
        let asked = read(json!({"priority": -3.0, "timeout": 2.5})).unwrap();
        assert_eq!((asked.priority, asked.timeout), (-3, Some(Duration::from_millis(2_500))));
        let huge = read(json!({"priority": -1e30, "timeout": 1e300})).unwrap();
        assert_eq!((huge.priority, huge.timeout), (i64::MIN, Some(Duration::MAX)));
    }

    #[test]
    fn junk_is_refused_by_name() {
        for (body, param) in [
            (json!({"service_tier": 1}), "service_tier"),
            (json!({"priority": "high"}), "priority"),
            (json!({"priority": 0.5}), "priority"),
            (json!({"timeout": 0}), "timeout"),
            (json!({"timeout": -1}), "timeout"),
            (json!({"timeout": "5"}), "timeout"),
        ] {
            assert_eq!(read(body.clone()).unwrap_err().param.as_deref(), Some(param), "{body}");
        }
    }
}
