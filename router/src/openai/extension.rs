//! The request's one extension: `secateur.visual` and `secateur.transfer`.

use secateur_proto::{ServiceError, v1};
use secateur_pruning::{VisualMethod, VisualPolicy};
use secateur_transfer::{policy::TransferPolicy, visual};

use super::fields::{Fields, unsupported};

/// What the client asked of visual pruning.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct VisualChoice {
    /// None: `auto`.
    pub method: Option<VisualMethod>,
    /// Share of visual tokens kept, (0, 1].
    pub keep: Option<f64>,
}

impl VisualChoice {
    /// The policy in force, given what the checkpoint recommends and how many pictures there are.
    ///
    /// `auto` leaves several pictures whole: the method for these, TrimTokenator-LC, is not built yet, and the one for a
    /// single picture, with the rate measured for one, costs far more there.
    pub fn resolve(&self, recommended: Option<&v1::VisualPolicy>, pictures: usize) -> VisualPolicy {
        let is_auto = self.method.is_none() && self.keep.is_none();
        if is_auto && pictures > 1 {
            return VisualPolicy::KEEP_ALL;
        }
        let recommended = recommended.and_then(|policy| visual::policy_from_proto(policy).ok());
        let method = self.method.or(recommended.map(|policy| policy.method())).unwrap_or(VisualMethod::TrimTokenator);
        let recommended_keep = recommended.filter(|policy| policy.method() == method).map(|policy| policy.keep());
        let keep = self.keep.or(recommended_keep).unwrap_or(VisualPolicy::PUBLISHED_KEEP);
        // Both sources of a rate have been checked, so nothing is out of range here.
        VisualPolicy::new(method, keep).unwrap_or(VisualPolicy::KEEP_ALL)
    }
}

/// The receipt's word for a method.
pub fn method_name(method: i32) -> &'static str {
    visual::method_from_proto(method).unwrap_or(VisualMethod::None).as_str()
}

/// The receipt's word for a policy.
pub fn policy_name(policy: i32) -> &'static str {
    TransferPolicy::from_proto(policy).unwrap_or_default().as_str()
}

/// Reads the extension. A misspelt key would silently mean another policy, so unknown keys are refused here.
pub fn parse(fields: &Fields) -> Result<(VisualChoice, TransferPolicy), ServiceError> {
    let Some(extension) = fields.object("secateur")? else {
        return Ok(Default::default());
    };
    refuse_unknown(&extension, &["visual", "transfer"])?;
    let visual = extension.object("visual")?.map(|visual| parse_visual(&visual)).transpose()?;
    let transfer = extension.object("transfer")?.map(|transfer| parse_transfer(&transfer)).transpose()?;
    Ok((visual.unwrap_or_default(), transfer.unwrap_or_default()))
}

fn parse_visual(fields: &Fields) -> Result<VisualChoice, ServiceError> {
    refuse_unknown(fields, &["method", "keep"])?;
    let method = match fields.text("method")? {
        None | Some("auto") => None,
        Some(later @ ("trimtokenator-lc" | "coverage")) => return Err(not_built(fields, "method", later)),
        Some(name) => {
            let known = || VisualMethod::ALL.map(VisualMethod::as_str).join(", ");
            Some(name.parse().map_err(|_| fields.invalid("method", format!("must be one of auto, {}", known())))?)
        }
    };
    let keep = fields.number_where("keep", "above 0 and at most 1", |keep| keep > 0.0 && keep <= 1.0)?;
    Ok(VisualChoice { method, keep })
}

fn parse_transfer(fields: &Fields) -> Result<TransferPolicy, ServiceError> {
    refuse_unknown(fields, &["policy"])?;
    match fields.text("policy")? {
        None => Ok(TransferPolicy::default()),
        Some(later @ ("pdtrim" | "tiered")) => Err(not_built(fields, "policy", later)),
        Some(name) => {
            let known = || TransferPolicy::ALL.map(TransferPolicy::as_str).join(", ");
            name.parse().map_err(|_| fields.invalid("policy", format!("must be one of {}", known())))
        }
    }
}

fn not_built(fields: &Fields, key: &str, value: &str) -> ServiceError {
    unsupported(fields.path(key), format!("{} {value} is not available in this version", fields.path(key)))
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
    use secateur_proto::ErrorCode;
    use serde_json::{Value, json};

    fn parse_json(extension: Value) -> Result<(VisualChoice, TransferPolicy), ServiceError> {
        let body = json!({"secateur": extension});
        parse(&Fields::of(&body, "").unwrap())
    }

    #[test]
    fn auto_follows_the_checkpoint_and_the_request_wins() {
        let recommended = VisualPolicy::new(VisualMethod::TrimTokenator, 0.25).unwrap();
        let card = visual::policy_to_proto(recommended);
        let (auto, _) = parse_json(json!({"visual": {"method": "auto"}})).unwrap();
        assert_eq!(auto.resolve(Some(&card), 1), recommended);
        assert_eq!(auto.resolve(Some(&card), 2), VisualPolicy::KEEP_ALL);
        assert_eq!(auto.resolve(None, 1).keep(), VisualPolicy::PUBLISHED_KEEP);
        let broken = v1::VisualPolicy { keep: 7.0, ..card };
        assert_eq!(auto.resolve(Some(&broken), 1).keep(), VisualPolicy::PUBLISHED_KEEP);
        let (kept, _) = parse_json(json!({"visual": {"keep": 0.5}})).unwrap();
        assert_eq!(kept.resolve(Some(&card), 3).keep(), 0.5);
        let (none, _) = parse_json(json!({"visual": {"method": "none"}, "transfer": {"policy": "dense"}})).unwrap();
        assert_eq!(none.resolve(Some(&card), 1), VisualPolicy::KEEP_ALL);
    }

    #[test]
    fn what_is_not_built_is_refused_by_name() {
        for (extension, param) in [
            (json!({"visual": {"method": "coverage"}}), "secateur.visual.method"),
            (json!({"visual": {"method": "trimtokenator-lc"}}), "secateur.visual.method"),
            (json!({"transfer": {"policy": "tiered"}}), "secateur.transfer.policy"),
            (json!({"transfer": {"policy": "pdtrim"}}), "secateur.transfer.policy"),
        ] {
            let error = parse_json(extension).unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), (ErrorCode::UnsupportedParameter, Some(param)));
        }
    }

    #[test]
    fn misspellings_and_wrong_ranges_are_refused() {
        for (extension, param) in [
            (json!({"visuals": {}}), "secateur.visuals"),
            (json!({"visual": {"kept": 1}}), "secateur.visual.kept"),
            (json!({"visual": {"method": "magic"}}), "secateur.visual.method"),
            (json!({"transfer": {"policy": "magic"}}), "secateur.transfer.policy"),
            (json!({"visual": {"keep": 0}}), "secateur.visual.keep"),
            (json!({"visual": {"keep": 1.1}}), "secateur.visual.keep"),
            (json!({"visual": "none"}), "secateur.visual"),
            (json!("none"), "secateur"),
        ] {
            let error = parse_json(extension).unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), (ErrorCode::InvalidRequest, Some(param)));
        }
    }
}
