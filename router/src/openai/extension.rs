//! The request's extension `secateur`: its fields `visual`, `transfer` and `forced_token_ids`.

use secateur_proto::ServiceError;
use secateur_pruning::VisualMethod;
use secateur_transfer::{Grain, policy::TransferPolicy};
use serde_json::Value;

use super::fields::Fields;
use crate::request::VisualChoice;

/// Most tokens that a request may force.
const FORCED_MAX: usize = 4_096;

/// The extension's values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extension {
    /// Visual pruning that the client asks for.
    pub visual: VisualChoice,
    /// Transfer policy; `None` means `auto`.
    pub transfer: Option<TransferPolicy>,
    /// First tokens of the answer, used in place of sampled ones.
    pub forced: Vec<u32>,
}

/// Whether the request chooses how its pictures are pruned.
pub fn chooses_visual(fields: &Fields) -> Result<bool, ServiceError> {
    Ok(fields.object("secateur")?.is_some_and(|extension| extension.get("visual").is_some()))
}

/// Reads the extension; token ids must be below `vocab`. Unknown keys are refused, since a misspelt key would silently
/// select another policy.
pub fn parse(fields: &Fields, vocab: u32) -> Result<Extension, ServiceError> {
    let Some(extension) = fields.object("secateur")? else {
        return Ok(Extension::default());
    };
    refuse_unknown(&extension, &["visual", "transfer", "forced_token_ids"])?;
    let visual = extension.object("visual")?.map(|visual| parse_visual(&visual)).transpose()?;
    let transfer = extension.object("transfer")?.map(|transfer| parse_transfer(&transfer)).transpose()?;
    Ok(Extension {
        visual: visual.unwrap_or_default(),
        transfer: transfer.unwrap_or_default(),
        forced: extension.get("forced_token_ids").map_or(Ok(Vec::new()), |ids| parse_forced(&extension, ids, vocab))?,
    })
}

fn parse_forced(fields: &Fields, ids: &Value, vocab: u32) -> Result<Vec<u32>, ServiceError> {
    let wrong = || fields.invalid("forced_token_ids", format!("must be a list of token ids, each below {vocab}"));
    let ids = ids.as_array().ok_or_else(wrong)?;
    if ids.len() > FORCED_MAX {
        return Err(fields.invalid("forced_token_ids", format!("must have at most {FORCED_MAX} entries")));
    }
    let id = |id: &Value| id.as_u64().and_then(|id| u32::try_from(id).ok()).filter(|id| *id < vocab).ok_or_else(wrong);
    ids.iter().map(id).collect()
}

fn parse_visual(fields: &Fields) -> Result<VisualChoice, ServiceError> {
    refuse_unknown(fields, &["method", "keep"])?;
    let method = match fields.text("method")? {
        None | Some("auto") => None,
        Some(name) => {
            let known = || VisualMethod::ALL.map(VisualMethod::as_str).join(", ");
            Some(name.parse().map_err(|_| fields.invalid("method", format!("must be one of auto, {}", known())))?)
        }
    };
    let keep = fields.number_where("keep", "above 0 and at most 1", |keep| keep > 0.0 && keep <= 1.0)?;
    Ok(VisualChoice { method, keep, is_low_detail: false })
}

fn parse_transfer(fields: &Fields) -> Result<Option<TransferPolicy>, ServiceError> {
    refuse_unknown(fields, &["policy", "bits"])?;
    let policy = match fields.text("policy")? {
        None | Some("auto") => None,
        Some(name) => {
            let known = || TransferPolicy::ALL.map(TransferPolicy::as_str).join(", ");
            let found = TransferPolicy::ALL.into_iter().find(|policy| policy.as_str() == name);
            Some(found.ok_or_else(|| fields.invalid("policy", format!("must be one of auto, {}", known())))?)
        }
    };
    let Some(bits) =
        fields.number_where("bits", "a multiple of 0.25 from 2 to 10", |bits| Grain::of_bits(bits).is_some())?
    else {
        return Ok(policy);
    };
    if policy.is_some_and(|policy| policy != TransferPolicy::Tiered) {
        return Err(fields.invalid("bits", "is for the policy tiered alone"));
    }
    Ok(Grain::of_bits(bits).map(TransferPolicy::TieredAt))
}

fn refuse_unknown(fields: &Fields, known: &[&str]) -> Result<(), ServiceError> {
    match fields.keys().find(|key| !known.contains(key)) {
        None => Ok(()),
        Some(key) => Err(fields.invalid(key, format!("is not known; known here: {}", known.join(", ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Recommended;
    use secateur_proto::ErrorCode;
    use secateur_proto::v1;
    use secateur_pruning::VisualPolicy;
    use secateur_transfer::visual;
    use serde_json::json;

    fn parse_json(extension: Value) -> Result<Extension, ServiceError> {
        let body = json!({"secateur": extension});
        parse(&Fields::of(&body, "").unwrap(), 300)
    }

    fn parse_visual(extension: Value) -> VisualChoice {
        parse_json(extension).unwrap().visual
    }

    #[test]
    fn auto_follows_the_checkpoint_and_the_request_wins() {
        let recommended = VisualPolicy::new(VisualMethod::TrimTokenator, 0.25).unwrap();
        let card = visual::policy_to_proto(recommended);
        let several = VisualPolicy::new(VisualMethod::Coverage, 0.5).unwrap();
        let several_card = visual::policy_to_proto(several);
        let both = Recommended { one: Some(&card), several: Some(&several_card) };
        let auto = parse_visual(json!({"visual": {"method": "auto"}}));
        assert_eq!((auto.resolve(both, 1), auto.resolve(both, 2)), (recommended, several));
        assert_eq!(auto.resolve(Recommended::default(), 1), VisualPolicy::KEEP_ALL);
        assert_eq!(auto.resolve(Recommended::default(), 4), VisualPolicy::KEEP_ALL);
        let broken = v1::VisualPolicy { keep: 7.0, ..card };
        let broken = Recommended { one: Some(&broken), several: None };
        assert_eq!(auto.resolve(broken, 1), VisualPolicy::KEEP_ALL);
        let half = parse_visual(json!({"visual": {"keep": 0.5}})).resolve(Recommended::default(), 1);
        assert_eq!((half.method(), half.keep()), (VisualMethod::Coverage, 0.5));
        let kept = parse_visual(json!({"visual": {"keep": 0.125}}));
        assert_eq!((kept.resolve(both, 1).method(), kept.resolve(both, 1).keep()), (recommended.method(), 0.125));
        assert_eq!((kept.resolve(both, 3).method(), kept.resolve(both, 3).keep()), (several.method(), 0.125));
        let named = parse_visual(json!({"visual": {"method": "random"}}));
        assert_eq!(named.resolve(both, 3).keep(), 0.2);
        let none = parse_visual(json!({"visual": {"method": "none"}, "transfer": {"policy": "dense"}}));
        assert_eq!(none.resolve(both, 1), VisualPolicy::KEEP_ALL);
    }

    #[test]
    fn low_detail_is_the_recommended_method_at_a_small_share() {
        let resolved = |method, keep| {
            let card = visual::policy_to_proto(VisualPolicy::new(method, keep).unwrap());
            let policy = VisualChoice::LOW_DETAIL.resolve(Recommended { one: Some(&card), several: None }, 1);
            (policy.method(), policy.keep())
        };
        assert_eq!(resolved(VisualMethod::TrimTokenator, 0.9), (VisualMethod::TrimTokenator, 0.25));
        assert_eq!(resolved(VisualMethod::TrimTokenator, 0.1), (VisualMethod::TrimTokenator, 0.1), "less is less");
        assert_eq!(resolved(VisualMethod::Distinct, 1.0), (VisualMethod::Coverage, 0.25));
        assert_eq!(resolved(VisualMethod::None, 1.0), (VisualMethod::Coverage, 0.25));
        let without_a_card = VisualChoice::LOW_DETAIL.resolve(Recommended::default(), 3);
        assert_eq!((without_a_card.method(), without_a_card.keep()), (VisualMethod::Coverage, 0.25));
    }

    #[test]
    fn a_policy_is_named_or_left_to_the_router() {
        let policy = |policy: Value| parse_json(json!({"transfer": {"policy": policy}})).unwrap().transfer;
        for known in TransferPolicy::ALL {
            assert_eq!(policy(json!(known.as_str())), Some(known));
        }
        assert_eq!((policy(json!("auto")), policy(Value::Null)), (None, None));
        let at = |transfer: Value| parse_json(json!({"transfer": transfer})).unwrap().transfer;
        let finer = Grain::of_bits(7.5).map(TransferPolicy::TieredAt);
        assert_eq!((at(json!({"policy": "tiered", "bits": 7.5})), at(json!({"bits": 7.5}))), (finer, finer));
        assert_eq!(parse_json(json!({})).unwrap(), Extension::default());
        assert_eq!(parse_json(json!({"forced_token_ids": [0, 299]})).unwrap().forced, [0, 299]);
    }

    #[test]
    fn misspellings_and_wrong_ranges_are_refused() {
        for (extension, param) in [
            (json!({"visuals": {}}), "secateur.visuals"),
            (json!({"visual": {"kept": 1}}), "secateur.visual.kept"),
            (json!({"visual": {"method": "magic"}}), "secateur.visual.method"),
            (json!({"transfer": {"policy": "magic"}}), "secateur.transfer.policy"),
            (json!({"visual": {"keep": 0}}), "secateur.visual.keep"),
            (json!({"transfer": {"bits": 4.3}}), "secateur.transfer.bits"),
            (json!({"transfer": {"bits": 1}}), "secateur.transfer.bits"),
            (json!({"transfer": {"policy": "dense", "bits": 4}}), "secateur.transfer.bits"),
            (json!({"transfer": {"policy": "tiered:4"}}), "secateur.transfer.policy"),
            (json!({"visual": {"keep": 1.1}}), "secateur.visual.keep"),
            (json!({"visual": "none"}), "secateur.visual"),
            (json!("none"), "secateur"),
            (json!({"forced_token_ids": [300]}), "secateur.forced_token_ids"),
            (json!({"forced_token_ids": [-1]}), "secateur.forced_token_ids"),
            (json!({"forced_token_ids": "hello"}), "secateur.forced_token_ids"),
            (json!({"forced_token_ids": vec![1; FORCED_MAX + 1]}), "secateur.forced_token_ids"),
        ] {
            let error = parse_json(extension).unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), (ErrorCode::InvalidRequest, Some(param)));
        }
    }
}
