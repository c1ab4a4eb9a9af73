//! Uniform random selection: a baseline that every method should beat, and not all do (UniPruneBench, arXiv
//! 2511.02650).
//!
//! \[R\] Drawn without replacement by a partial Fisher-Yates shuffle on SplitMix64. The seed is a constant mixed with
//! the crop's place in the request and its number of tokens, never with the content or a clock: the same request keeps
//! the same tokens on every node and at every retry, and crops of equal size do not all keep the same places.

const SEED: u64 = 0x5ec4_7e42;

/// `keep` of `tokens` indices, ascending, for crop `tile` of picture `picture`; all of them if `keep` covers them.
pub fn select(tokens: usize, keep: usize, picture: usize, tile: usize) -> Vec<usize> {
    let mut draw = SplitMix64(SEED);
    for part in [picture, tile, tokens] {
        draw = SplitMix64(draw.next() ^ part as u64);
    }
    let keep = keep.min(tokens);
    let mut places: Vec<usize> = (0..tokens).collect();
    for place in 0..keep {
        places.swap(place, place + draw.below(tokens - place));
    }
    places.truncate(keep);
    places.sort_unstable();
    places
}

/// SplitMix64, Sebastiano Vigna's public-domain generator: a counter passed through a mixing function.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Draws uniformly from `0..limit`, up to a bias of `limit / 2^64`.
    fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_every_time_and_different_for_another_crop() {
        assert_eq!(select(576, 64, 0, 0), select(576, 64, 0, 0));
        assert_ne!(select(576, 64, 0, 0), select(576, 64, 0, 1));
        assert_ne!(select(576, 64, 0, 1), select(576, 64, 1, 0));
        assert_eq!(select(3, 9, 0, 0), [0, 1, 2]);
        assert!(select(0, 9, 0, 0).is_empty());
    }

    #[test]
    fn every_place_is_as_likely() {
        let mut counts = [0usize; 20];
        for tile in 0..10_000 {
            let kept = select(20, 5, 0, tile);
            assert!(kept.len() == 5 && kept.windows(2).all(|pair| pair[0] < pair[1]));
            kept.into_iter().for_each(|place| counts[place] += 1);
        }
        // 2500 are expected, with a standard deviation of 43.
        assert!(counts.iter().all(|count| count.abs_diff(2500) < 220), "{counts:?}");
    }
}
