//! What a request must agree to before any work is done for it: the same model, the same plan. Fail closed.

use std::time::Duration;

use secateur_model::{BLOCK_POSITIONS, KvPool, ModelError, TokenLogprob};
use secateur_proto::{ErrorCode, ServiceError, v1};

use crate::identity::Identity;

/// The longest work that a request may ask for.
const DEADLINE_MAX: Duration = Duration::from_secs(3_600);

/// Refuses a request made for another model or plan.
pub fn check_model(identity: &Identity, model_fingerprint: &str, plan_id: &str) -> Result<(), ServiceError> {
    let mismatch = |what: &str| {
        ServiceError::new(ErrorCode::Incompatible, format!("node {} runs another {what}", identity.node_id))
    };
    if model_fingerprint != identity.model.fingerprint {
        return Err(mismatch("model"));
    }
    if plan_id != identity.plan_id {
        return Err(mismatch("pruning plan"));
    }
    Ok(())
}

/// The request's epoch, which every request has.
pub fn epoch(epoch: Option<v1::Epoch>) -> Result<v1::Epoch, ServiceError> {
    epoch.filter(|epoch| !epoch.id.is_empty() && epoch.id.len() <= 64).ok_or_else(|| {
        ServiceError::new(ErrorCode::InvalidRequest, "an epoch of 1 to 64 characters is needed").with_param("epoch")
    })
}

/// How long the request may take.
pub fn deadline(deadline_ms: u64) -> Result<Duration, ServiceError> {
    let deadline = Duration::from_millis(deadline_ms);
    if deadline.is_zero() || deadline > DEADLINE_MAX {
        let text = format!("deadline_ms must be 1 to {}", DEADLINE_MAX.as_millis());
        return Err(ServiceError::new(ErrorCode::InvalidRequest, text).with_param("deadline_ms"));
    }
    Ok(deadline)
}

/// Sampling as the model knows it.
pub fn sampling(message: Option<v1::Sampling>) -> secateur_model::Sampling {
    let sampling = message.unwrap_or_default();
    // In the message, 0 is "not set" for what has another neutral value.
    let or_one = |value: f32| if value > 0.0 { value } else { 1.0 };
    let mut logit_bias: Vec<(u32, f32)> = sampling.logit_bias.into_iter().collect();
    logit_bias.sort_unstable_by_key(|&(token, _)| token);
    secateur_model::Sampling {
        temperature: sampling.temperature,
        top_p: or_one(sampling.top_p),
        top_k: sampling.top_k,
        min_p: sampling.min_p,
        repetition_penalty: or_one(sampling.repetition_penalty),
        frequency_penalty: sampling.frequency_penalty,
        presence_penalty: sampling.presence_penalty,
        logit_bias,
        seed: sampling.seed,
        top_logprobs: sampling.top_logprobs,
        min_tokens: sampling.min_tokens,
        forced: sampling.forced,
    }
}

/// Log probabilities as a message.
pub fn logprob(found: TokenLogprob) -> v1::TokenLogprob {
    let top = found.top.into_iter().map(|(id, logprob)| v1::TopLogprob { id, logprob }).collect();
    v1::TokenLogprob { logprob: found.logprob, top }
}

/// The load of a node's KV pool, of which `reclaimable` blocks are held by nothing but a cache.
pub fn load(pool: &KvPool, reclaimable: usize) -> v1::Load {
    let used = pool.blocks().saturating_sub(pool.free_blocks() + reclaimable);
    v1::Load {
        kv_bytes_used: (used * pool.block_bytes()) as u64,
        kv_bytes_total: (pool.blocks() * pool.block_bytes()) as u64,
        kv_blocks_used: used as u32,
        kv_blocks_total: pool.blocks() as u32,
        kv_block_positions: BLOCK_POSITIONS as u32,
        ..v1::Load::default()
    }
}

/// What a failure of the model means to the one who asked.
pub fn model_failure(error: ModelError) -> ServiceError {
    let code = match &error {
        ModelError::Cancelled => ErrorCode::Cancelled,
        ModelError::ContextTooLong { .. } => ErrorCode::ContextLengthExceeded,
        ModelError::Picture(_) => ErrorCode::InvalidImage,
        ModelError::NoVision | ModelError::Token { .. } | ModelError::EmptyPrompt => ErrorCode::InvalidRequest,
        // The one failure inside a model that names nothing but itself.
        ModelError::Logits => {
            tracing::error!(%error, "the model failed");
            ErrorCode::Internal
        }
        _ => {
            // The text may name files of this machine, so it stays in the log.
            tracing::error!(%error, "the model failed");
            return ServiceError::new(ErrorCode::Internal, "the model failed; the node's log says why");
        }
    };
    ServiceError::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_and_deadlines_have_limits() {
        assert!(epoch(None).is_err());
        assert!(epoch(Some(v1::Epoch { id: "x".repeat(65), attempt: 0 })).is_err());
        assert!(epoch(Some(v1::Epoch { id: "x".into(), attempt: 0 })).is_ok());
        assert!(deadline(0).is_err());
        assert!(deadline(u64::MAX).is_err());
        assert_eq!(deadline(5).unwrap(), Duration::from_millis(5));
    }

    #[test]
    fn internal_failures_do_not_leak_their_text() {
        let secret = ModelError::MissingTensor { name: "/secret/path".into() };
        assert!(!model_failure(secret).message.contains("secret"));
    }
}
