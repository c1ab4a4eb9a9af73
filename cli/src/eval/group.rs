//! Groups of cases: all, those of each tag, and those of each depth at which the answer lies in the text.

use crate::suite::{ALL, Case};

/// Tag of cases with a depth, which are needles in a text.
const NEEDLE: &str = "needle";

/// A subset of the cases.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    pub kind: Kind,
    pub tag: String,
    /// Indices into the cases.
    pub members: Vec<usize>,
    /// Members that do not say what is right.
    open: Vec<usize>,
}

/// The printed table that a group belongs to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    All,
    /// Cases with the same first tag.
    Family,
    /// Cases with the same tag, other than a first one.
    Detail,
    /// Needles at this depth.
    Depth(f64),
}

/// Every group: all cases, families and other tags in order of appearance, depths from the start of the text.
pub fn of(cases: &[Case]) -> Vec<Group> {
    let all = group(cases, Kind::All, ALL, |_| true);
    let families = tags(cases.iter().filter_map(|case| case.tags.first()));
    let details = tags(cases.iter().flat_map(|case| case.tags.iter().skip(1)));
    let details = details.into_iter().filter(|tag| !families.contains(tag)).collect::<Vec<_>>();
    let tagged = |kind: Kind| move |tag: &String| group(cases, kind, tag, |case| case.tags.contains(tag));
    let depth = |depth: &f64| group(cases, Kind::Depth(*depth), NEEDLE, |case| case.depth == Some(*depth));
    let families = families.iter().map(tagged(Kind::Family));
    let details = details.iter().map(tagged(Kind::Detail));
    std::iter::once(all).chain(families).chain(details).chain(depths(cases).iter().map(depth)).collect()
}

fn group(cases: &[Case], kind: Kind, tag: &str, has: impl Fn(&Case) -> bool) -> Group {
    let found = || (0..).zip(cases).filter(|(_, case)| has(case));
    let members = found().map(|(index, _)| index).collect();
    let open = found().filter(|(_, case)| case.answer.is_none()).map(|(index, _)| index).collect();
    Group { kind, tag: tag.to_owned(), members, open }
}

/// Each tag once, in order of appearance.
fn tags<'a>(tags: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for tag in tags {
        if !found.contains(tag) {
            found.push(tag.clone());
        }
    }
    found
}

fn depths(cases: &[Case]) -> Vec<f64> {
    let mut depths: Vec<f64> = cases.iter().filter_map(|case| case.depth).collect();
    depths.sort_by(f64::total_cmp);
    depths.dedup();
    depths
}

impl Group {
    /// A group of these cases, all of which say what is right.
    #[cfg(test)]
    pub fn judged(kind: Kind, tag: &str, members: &[usize]) -> Group {
        Group { kind, tag: tag.to_owned(), members: members.to_vec(), open: Vec::new() }
    }

    /// Whether a member says what is right.
    pub fn is_judged(&self, member: usize) -> bool {
        self.open.binary_search(&member).is_err()
    }

    pub fn depth(&self) -> Option<f64> {
        match self.kind {
            Kind::Depth(depth) => Some(depth),
            Kind::All | Kind::Family | Kind::Detail => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::tests;

    fn case(tags: &[&str], depth: Option<f64>) -> Case {
        tests::case(tags, depth)
    }

    #[test]
    fn every_tag_and_depth_has_its_group() {
        let cases = [
            case(&["single", "colour"], None),
            case(&["text", "needle", "long"], Some(1.0)),
            case(&["text", "needle"], Some(0.0)),
            case(&[], None),
            case(&["text", "needle", "single"], Some(1.0)),
        ];
        let found: Vec<(Kind, String, Vec<usize>)> =
            of(&cases).into_iter().map(|group| (group.kind, group.tag, group.members)).collect();
        let expected = [
            (Kind::All, "all", vec![0, 1, 2, 3, 4]),
            (Kind::Family, "single", vec![0, 4]),
            (Kind::Family, "text", vec![1, 2, 4]),
            (Kind::Detail, "colour", vec![0]),
            (Kind::Detail, "needle", vec![1, 2, 4]),
            (Kind::Detail, "long", vec![1]),
            (Kind::Depth(0.0), "needle", vec![2]),
            (Kind::Depth(1.0), "needle", vec![1, 4]),
        ];
        assert_eq!(found, expected.map(|(kind, tag, members)| (kind, tag.to_owned(), members)));
    }
}
