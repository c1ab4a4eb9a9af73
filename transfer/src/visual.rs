//! Visual policies on the wire: the only mapping between `pruning`'s types and the messages.

use secateur_proto::{ErrorCode, ServiceError, v1};
use secateur_pruning::{VisualMethod, VisualPolicy};

/// The wire tag of a method.
pub fn method_to_proto(method: VisualMethod) -> v1::VisualMethod {
    match method {
        VisualMethod::None => v1::VisualMethod::None,
        VisualMethod::TrimTokenator => v1::VisualMethod::Trimtokenator,
        VisualMethod::TrimTokenatorLc => v1::VisualMethod::TrimtokenatorLc,
        VisualMethod::Coverage => v1::VisualMethod::Coverage,
        VisualMethod::ConditionalDpp => v1::VisualMethod::ConditionalDpp,
        VisualMethod::FarthestPoint => v1::VisualMethod::FarthestPoint,
        VisualMethod::Random => v1::VisualMethod::Random,
        VisualMethod::KeepFirst => v1::VisualMethod::KeepFirst,
        VisualMethod::Downsample => v1::VisualMethod::Downsample,
        VisualMethod::Distinct => v1::VisualMethod::Distinct,
    }
}

/// The method of a wire tag; `None` if the tag is unknown.
pub fn method_from_proto(tag: i32) -> Option<VisualMethod> {
    match v1::VisualMethod::try_from(tag).ok()? {
        v1::VisualMethod::Unspecified => None,
        v1::VisualMethod::None => Some(VisualMethod::None),
        v1::VisualMethod::Trimtokenator => Some(VisualMethod::TrimTokenator),
        v1::VisualMethod::TrimtokenatorLc => Some(VisualMethod::TrimTokenatorLc),
        v1::VisualMethod::Coverage => Some(VisualMethod::Coverage),
        v1::VisualMethod::ConditionalDpp => Some(VisualMethod::ConditionalDpp),
        v1::VisualMethod::FarthestPoint => Some(VisualMethod::FarthestPoint),
        v1::VisualMethod::Random => Some(VisualMethod::Random),
        v1::VisualMethod::KeepFirst => Some(VisualMethod::KeepFirst),
        v1::VisualMethod::Downsample => Some(VisualMethod::Downsample),
        v1::VisualMethod::Distinct => Some(VisualMethod::Distinct),
    }
}

/// Converts a policy into a message.
pub fn policy_to_proto(policy: VisualPolicy) -> v1::VisualPolicy {
    v1::VisualPolicy { method: method_to_proto(policy.method()) as i32, keep: policy.keep() }
}

/// Converts a message into a policy and validates it.
pub fn policy_from_proto(message: &v1::VisualPolicy) -> Result<VisualPolicy, ServiceError> {
    let invalid = |text: String, param: &str| ServiceError::new(ErrorCode::InvalidRequest, text).with_param(param);
    let method = method_from_proto(message.method)
        .ok_or_else(|| invalid(format!("unknown visual method tag {}", message.method), "visual.method"))?;
    VisualPolicy::new(method, message.keep).map_err(|error| invalid(error.to_string(), "visual.keep"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_round_trip() {
        for method in VisualMethod::ALL {
            let policy = VisualPolicy::new(method, 0.25).unwrap();
            assert_eq!(policy_from_proto(&policy_to_proto(policy)), Ok(policy));
        }
    }

    #[test]
    fn unknown_tags_and_rates_are_refused_by_name() {
        let error = policy_from_proto(&v1::VisualPolicy { method: 77, keep: 0.5 }).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("visual.method"));
        let error = policy_from_proto(&v1::VisualPolicy { method: 2, keep: 7.0 }).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("visual.keep"));
    }
}
