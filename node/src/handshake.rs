//! Checks before any work is done for a request: it must name the same model and the same plan as this node, else it is
//! refused (fail closed). Also conversions between messages and the model's types.

use std::time::Duration;

use secateur_grammar::GrammarError;
use secateur_model::{BLOCK_POSITIONS, KvPool, ModelError, Score, TokenLogprob};
use secateur_proto::{ErrorCode, ServiceError, v1};

use crate::{grammars, identity::Identity};

/// Longest deadline that a request may ask for.
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

/// The request's epoch; a request without one, or with an id that is empty or longer than 64 bytes, is refused.
pub fn epoch(epoch: Option<v1::Epoch>) -> Result<v1::Epoch, ServiceError> {
    epoch.filter(|epoch| !epoch.id.is_empty() && epoch.id.len() <= 64).ok_or_else(|| {
        ServiceError::new(ErrorCode::InvalidRequest, "an epoch of 1 to 64 characters is needed").with_param("epoch")
    })
}

/// The request's deadline as a duration from now; refused unless it is from 1 ms to one hour.
pub fn deadline(deadline_ms: u64) -> Result<Duration, ServiceError> {
    let deadline = Duration::from_millis(deadline_ms);
    if deadline.is_zero() || deadline > DEADLINE_MAX {
        let text = format!("deadline_ms must be 1 to {}", DEADLINE_MAX.as_millis());
        return Err(ServiceError::new(ErrorCode::InvalidRequest, text).with_param("deadline_ms"));
    }
    Ok(deadline)
}

/// Converts a sampling message into the model's sampling settings.
pub fn sampling(message: Option<v1::Sampling>) -> secateur_model::Sampling {
    let sampling = message.unwrap_or_default();
    // The neutral value of these fields is 1; in the message, 0 means "not set".
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
        grammar: grammars::of_message(sampling.grammar),
    }
}

/// Converts a token's log probabilities into a message.
pub fn logprob(found: TokenLogprob) -> v1::TokenLogprob {
    let top = found.top.into_iter().map(|(id, logprob)| v1::TopLogprob { id, logprob }).collect();
    v1::TokenLogprob { logprob: found.logprob, top }
}

/// Converts the score of a prompt's token into a message.
pub fn score(found: Score) -> v1::PromptScore {
    v1::PromptScore { logprob: Some(logprob(found.logprob)), rank: found.rank }
}

/// The load of a node's KV pool. `reclaimable` blocks are held only by a cache and count as free.
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

/// Maps a failure of the model to the error that the caller gets.
pub fn model_failure(error: ModelError) -> ServiceError {
    let code = match &error {
        ModelError::Cancelled => ErrorCode::Cancelled,
        ModelError::ContextTooLong { .. } => ErrorCode::ContextLengthExceeded,
        ModelError::Picture(_) => ErrorCode::InvalidImage,
        ModelError::View { .. } => {
            return ServiceError::new(ErrorCode::InvalidRequest, error.to_string()).with_param("visual.method");
        }
        ModelError::NoVision | ModelError::Token { .. } | ModelError::EmptyPrompt => ErrorCode::InvalidRequest,
        // What the client asked for, and not this node, is at fault.
        ModelError::Grammar(GrammarError::Complex(_)) => ErrorCode::InvalidRequest,
        // Its text names no file or other detail of this machine, so the caller may see it.
        ModelError::Logits | ModelError::States => {
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
    fn a_form_that_is_too_complex_is_the_clients_fault() {
        let error = model_failure(GrammarError::Complex("2007 items".to_owned()).into());
        assert!(error.code == ErrorCode::InvalidRequest && error.message.contains("2007 items"));
        assert_eq!(model_failure(GrammarError::Left(String::new()).into()).code, ErrorCode::Internal);
    }

    #[test]
    fn internal_failures_do_not_leak_their_text() {
        let secret = ModelError::MissingTensor { name: "/secret/path".into() };
        assert!(!model_failure(secret).message.contains("secret"));
    }
}
