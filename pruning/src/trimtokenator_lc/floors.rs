//! The best of a ranking, with a floor for every picture.

use super::token::Token;

/// Tokens to choose from.
pub(super) struct Ranked {
    /// The pool, best first.
    pub(super) pool: Vec<Token>,
    /// Representatives in their order, for a picture with too few tokens in the pool.
    pub(super) reserve: Vec<Token>,
}

impl Ranked {
    /// The best `budget` tokens of the pool; then \[R\] every picture below its floor, in order, adds the best of its
    /// remaining tokens (from the pool, then from the reserve), each in place of the worst-ranked token of a picture
    /// that is above its floor.
    pub(super) fn best(self, budget: usize, floors: &[usize]) -> Vec<Token> {
        let mut kept: Vec<Token> = self.pool.iter().take(budget).copied().collect();
        for (picture, &floor) in floors.iter().enumerate() {
            while count(&kept, picture) < floor {
                let Some(token) = self.next(picture, &kept) else { break };
                if kept.len() >= budget {
                    // Searches from the back, worst first. Tokens added for a floor rank below the pool's best.
                    let Some(place) = kept.iter().rposition(|t| count(&kept, t.picture) > floors[t.picture]) else {
                        break;
                    };
                    kept.remove(place);
                }
                kept.push(token);
            }
        }
        kept
    }

    fn next(&self, picture: usize, kept: &[Token]) -> Option<Token> {
        let own = self.pool.iter().chain(&self.reserve).filter(|token| token.picture == picture);
        own.copied().find(|token| !kept.contains(token))
    }
}

fn count(kept: &[Token], picture: usize) -> usize {
    kept.iter().filter(|token| token.picture == picture).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(picture: usize, position: usize) -> Token {
        Token { picture, position }
    }

    #[test]
    fn a_picture_below_its_floor_takes_from_one_above() {
        let pool = vec![token(0, 1), token(0, 2), token(0, 3), token(1, 5)];
        let reserve = vec![token(0, 1), token(0, 2), token(0, 3), token(1, 6), token(1, 5)];
        let kept = Ranked { pool, reserve }.best(3, &[1, 2]);
        assert_eq!(kept, [token(0, 1), token(1, 5), token(1, 6)]);
    }

    #[test]
    fn nothing_to_do_and_nothing_to_have() {
        let pool = vec![token(0, 0), token(1, 0)];
        assert_eq!(Ranked { pool: pool.clone(), reserve: vec![] }.best(2, &[1, 1]), pool);
        assert!(Ranked { pool: vec![], reserve: vec![] }.best(2, &[1]).is_empty());
    }
}
