//! The request's one extension: `secateur.visual` and `secateur.transfer`.

use secateur_proto::{
    ServiceError,
    v1::{TransferPolicy, VisualMethod, VisualPolicy},
};

use super::fields::{Fields, unsupported};

/// Share of visual tokens that TrimTokenator keeps when neither request nor checkpoint says: 64 of LLaVA's 576, the
/// paper's middle setting.
const KEEP_DEFAULT: f64 = 0.111;

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
    pub fn resolve(&self, recommended: Option<&VisualPolicy>, pictures: usize) -> VisualPolicy {
        let is_auto = self.method.is_none() && self.keep.is_none();
        if is_auto && pictures > 1 {
            return VisualPolicy { method: VisualMethod::None as i32, keep: 1.0 };
        }
        let recommended = recommended.filter(|policy| policy.method() != VisualMethod::Unspecified);
        let method =
            self.method.or_else(|| recommended.map(VisualPolicy::method)).unwrap_or(VisualMethod::Trimtokenator);
        let recommended_keep = recommended.filter(|policy| policy.method() == method).map(|policy| policy.keep);
        let keep = match method {
            VisualMethod::None | VisualMethod::Unspecified => 1.0,
            VisualMethod::Trimtokenator => self.keep.or(recommended_keep).unwrap_or(KEEP_DEFAULT),
        };
        VisualPolicy { method: method as i32, keep }
    }
}

/// What is shipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransferChoice {
    /// All kept tokens, native dtype.
    #[default]
    Dense,
}

impl TransferChoice {
    /// As the nodes know it.
    pub fn to_wire(self) -> TransferPolicy {
        match self {
            TransferChoice::Dense => TransferPolicy::Dense,
        }
    }
}

/// The receipt's word for a method.
pub fn method_name(method: VisualMethod) -> &'static str {
    match method {
        VisualMethod::Trimtokenator => "trimtokenator",
        VisualMethod::None | VisualMethod::Unspecified => "none",
    }
}

/// The receipt's word for a policy.
pub fn policy_name(policy: TransferPolicy) -> &'static str {
    match policy {
        TransferPolicy::Dense | TransferPolicy::Unspecified => "dense",
    }
}

/// Reads the extension. A misspelt key would silently mean another policy, so unknown keys are refused here.
pub fn parse(fields: &Fields) -> Result<(VisualChoice, TransferChoice), ServiceError> {
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
        Some("none") => Some(VisualMethod::None),
        Some("trimtokenator") => Some(VisualMethod::Trimtokenator),
        Some(later @ ("trimtokenator-lc" | "coverage")) => return Err(not_built(fields, "method", later)),
        Some(_) => return Err(fields.invalid("method", "must be auto, trimtokenator or none")),
    };
    let keep = fields.number_where("keep", "above 0 and at most 1", |keep| keep > 0.0 && keep <= 1.0)?;
    Ok(VisualChoice { method, keep })
}

fn parse_transfer(fields: &Fields) -> Result<TransferChoice, ServiceError> {
    refuse_unknown(fields, &["policy"])?;
    match fields.text("policy")? {
        None | Some("dense") => Ok(TransferChoice::Dense),
        Some(later @ ("pdtrim" | "tiered")) => Err(not_built(fields, "policy", later)),
        Some(_) => Err(fields.invalid("policy", "must be dense")),
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

    fn parse_json(extension: Value) -> Result<(VisualChoice, TransferChoice), ServiceError> {
        let body = json!({"secateur": extension});
        parse(&Fields::of(&body, "").unwrap())
    }

    #[test]
    fn auto_follows_the_checkpoint_and_the_request_wins() {
        let card = VisualPolicy { method: VisualMethod::Trimtokenator as i32, keep: 0.25 };
        let (auto, _) = parse_json(json!({"visual": {"method": "auto"}})).unwrap();
        assert_eq!(auto.resolve(Some(&card), 1), card);
        assert_eq!(auto.resolve(Some(&card), 2).method(), VisualMethod::None);
        assert_eq!(auto.resolve(None, 1).keep, KEEP_DEFAULT);
        let (kept, _) = parse_json(json!({"visual": {"keep": 0.5}})).unwrap();
        assert_eq!(kept.resolve(Some(&card), 3).keep, 0.5);
        let (none, _) = parse_json(json!({"visual": {"method": "none"}, "transfer": {"policy": "dense"}})).unwrap();
        assert_eq!(none.resolve(Some(&card), 1), VisualPolicy { method: VisualMethod::None as i32, keep: 1.0 });
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
