//! The field `secateur` of a request: the policies that it asks for.

use secateur_transfer::TransferPolicy;
use serde_json::{Map, Value, json};

use super::visual::Visual;

/// The request extension; empty if nothing is asked for, so that other servers can be asked too.
pub fn of(visual: Option<&Visual>, transfer: Option<TransferPolicy>) -> Map<String, Value> {
    let mut extension = Map::new();
    if let Some(visual) = visual {
        let mut policy = json!({"method": visual.method});
        if let Some(keep) = visual.keep {
            policy["keep"] = keep.into();
        }
        extension.insert("visual".to_owned(), policy);
    }
    if let Some(policy) = transfer {
        extension.insert(
            "transfer".to_owned(),
            match policy.bits() {
                Some(bits) => json!({"policy": policy.as_str(), "bits": bits}),
                None => json!({"policy": policy.as_str()}),
            },
        );
    }
    extension
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::visual::parse_visual;

    #[test]
    fn only_what_is_asked_for_is_in_it() {
        assert!(of(None, None).is_empty());
        let visual = parse_visual("coverage:0.5").unwrap();
        let both = of(Some(&visual), Some("tiered:4.5".parse().unwrap()));
        let expected =
            json!({"visual": {"method": "coverage", "keep": 0.5}, "transfer": {"policy": "tiered", "bits": 4.5}});
        assert_eq!(Value::Object(both), expected);
        let plain = of(Some(&parse_visual("none").unwrap()), Some(TransferPolicy::Dense));
        assert_eq!(Value::Object(plain), json!({"visual": {"method": "none"}, "transfer": {"policy": "dense"}}));
    }
}
