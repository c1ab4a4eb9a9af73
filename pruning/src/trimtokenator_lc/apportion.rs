//! Apportionment: places split among claims in proportion, with floors and caps, by largest remainder.

/// One claim for places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    /// Weight that the claim's share is proportional to.
    pub(super) weight: f64,
    /// Places that the claim gets in any case; at most `cap`.
    pub(super) floor: usize,
    /// Most places that the claim can use.
    pub(super) cap: usize,
}

/// Remainders closer than this are a tie: they differ only by rounding.
const TIE: f64 = 1e-9;

/// Places for each claim; they add up to `places`, or to the nearest sum that floors and caps allow.
///
/// \[R\] Quotas are `clamp(level weight, floor, cap)` at the level where they add up; each is rounded down, and the
/// remaining places go to the largest remainders, ties to the lower index. A weight below `1e-6 cap` (a picture of one
/// colour) is raised to that value, so that no places remain while a claim has room.
pub(super) fn shares(places: usize, claims: &[Claim]) -> Vec<usize> {
    let (floors, caps) = claims.iter().fold((0, 0), |(floors, caps), c| (floors + c.floor, caps + c.cap));
    let places = places.clamp(floors.min(caps), caps);
    let level = level(places as f64, claims);
    let quotas: Vec<f64> = claims.iter().map(|claim| quota(claim, level)).collect();
    let mut shares: Vec<usize> = quotas.iter().map(|quota| (quota + TIE).floor() as usize).collect();
    let remainder = |index: usize| ((quotas[index] + TIE).fract() / TIE).round() as u64;
    let mut order: Vec<usize> = (0..claims.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(remainder(index)));
    let mut left = places.saturating_sub(shares.iter().sum());
    for index in order {
        if left > 0 && shares[index] < claims[index].cap {
            shares[index] += 1;
            left -= 1;
        }
    }
    shares
}

fn quota(claim: &Claim, level: f64) -> f64 {
    let weight = claim.weight.max(1e-6 * claim.cap as f64);
    (level * weight).min(claim.cap as f64).max(claim.floor as f64)
}

/// Finds the level by bisection: the sum of the quotas grows with it, from the floors at 0 to the caps at a million.
fn level(places: f64, claims: &[Claim]) -> f64 {
    let (mut low, mut high) = (0f64, 1e6);
    for _ in 0..128 {
        let middle = 0.5 * (low + high);
        let sum: f64 = claims.iter().map(|claim| quota(claim, middle)).sum();
        if sum < places {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_claims_and_floors_and_caps() {
        let claim = |weight, floor, cap| Claim { weight, floor, cap };
        assert_eq!(shares(10, &[claim(1.0, 0, 9), claim(1.0, 0, 9), claim(1.0, 0, 9)]), [4, 3, 3]);
        assert_eq!(shares(20, &[claim(90.0, 4, 12), claim(9.0, 4, 9), claim(1.0, 4, 9)]), [12, 4, 4]);
        assert_eq!(shares(5, &[claim(0.0, 1, 9), claim(0.0, 1, 9)]), [3, 2]);
        assert!(shares(5, &[]).is_empty());
    }

    proptest! {
        #[test]
        fn they_add_up_within_bounds_and_in_proportion(
            claims in prop::collection::vec((0f64..500.0, 0usize..600), 1..12),
            share in 0f64..1.0,
        ) {
            let claims: Vec<Claim> =
                claims.into_iter().map(|(weight, cap)| Claim { weight, floor: cap.min(4), cap }).collect();
            let (floors, caps) = claims.iter().fold((0, 0), |(f, c), claim| (f + claim.floor, c + claim.cap));
            let places = floors + ((caps - floors) as f64 * share) as usize;
            let shares = shares(places, &claims);
            prop_assert_eq!(shares.iter().sum::<usize>(), places);
            let level = level(places as f64, &claims);
            for (share, claim) in shares.iter().zip(&claims) {
                prop_assert!((claim.floor..=claim.cap).contains(share));
                prop_assert!((*share as f64 - quota(claim, level)).abs() < 1.0 + 1e-6);
            }
        }
    }
}
