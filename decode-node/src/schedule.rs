//! The decode schedule: which answers step, which of them get a block for it, and which are preempted. Plain data,
//! tested without a model or a runtime.

/// The blocks that a running answer has and needs for the next step. Answers are listed in the order of arrival of
/// their requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Whether the answer's next row needs another block.
    pub grows: bool,
    /// Number of blocks that the answer holds.
    pub holds: usize,
}

/// The part of an answer in the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The answer advances by a token.
    Step {
        /// Whether the answer gets another block first.
        grows: bool,
    },
    /// The answer waits for a block: the missing ones are held by arriving prompts.
    Stall,
    /// The answer is preempted: its blocks are freed, and it is recomputed later.
    Preempt,
}

/// The turn of each answer, given the number of `free` blocks.
///
/// First come, first served: an answer gets its block from the free ones, else from the answer that came last, which is
/// preempted. The oldest answer is never preempted, so some answer always finishes. If no younger answer is left to
/// preempt, the answer stalls until a prompt that holds blocks starts to run: it is younger and can be preempted.
pub fn turns(needs: &[Need], free: usize) -> Vec<Part> {
    let mut turns = vec![Part::Step { grows: false }; needs.len()];
    let mut free = free;
    let mut end = needs.len();
    let mut at = 0;
    while at < end {
        if needs[at].grows {
            while free == 0 && end > at + 1 {
                end -= 1;
                turns[end] = Part::Preempt;
                free += needs[end].holds;
            }
            turns[at] = match free.checked_sub(1) {
                Some(rest) => {
                    free = rest;
                    Part::Step { grows: true }
                }
                None => Part::Stall,
            };
        }
        at += 1;
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;
    use Part::{Preempt, Stall};

    const STEP: Part = Part::Step { grows: false };
    const GROW: Part = Part::Step { grows: true };

    fn need(grows: bool, holds: usize) -> Need {
        Need { grows, holds }
    }

    #[test]
    fn all_step_while_there_are_blocks() {
        let needs = [need(true, 1), need(false, 1), need(true, 1)];
        assert_eq!(turns(&needs, 2), [GROW, STEP, GROW]);
    }

    #[test]
    fn the_last_to_come_gives_its_blocks_to_the_first() {
        let needs = [need(true, 1), need(false, 1), need(true, 1)];
        assert_eq!(turns(&needs, 1), [GROW, STEP, Stall]);
        assert_eq!(turns(&needs, 0), [GROW, STEP, Preempt]);
        // The preempted answer holds two blocks, which serve both others.
        let needs = [need(true, 1), need(true, 1), need(false, 2)];
        assert_eq!(turns(&needs, 0), [GROW, GROW, Preempt]);
    }

    #[test]
    fn the_oldest_stalls_rather_than_being_preempted() {
        assert_eq!(turns(&[need(true, 3)], 0), [Stall]);
        assert_eq!(turns(&[need(true, 3), need(true, 0)], 0), [Stall, Preempt]);
    }

    proptest::proptest! {
        #[test]
        fn blocks_are_never_given_twice_and_the_order_is_fair(
            needs in proptest::collection::vec((proptest::bool::ANY, 1usize..4), 0..40), free in 0usize..10,
        ) {
            let needs: Vec<Need> = needs.into_iter().map(|(grows, holds)| Need { grows, holds }).collect();
            let turns = turns(&needs, free);
            let given = turns.iter().filter(|turn| **turn == GROW).count();
            let back: usize = turns.iter().zip(&needs).filter(|(turn, _)| **turn == Preempt).map(|(_, need)| need.holds).sum();
            proptest::prop_assert!(given <= free + back);
            // Every preempted answer came after all answers that continue.
            let preempted = turns.iter().position(|turn| *turn == Preempt).unwrap_or(turns.len());
            proptest::prop_assert!(turns[preempted..].iter().all(|turn| *turn == Preempt));
            proptest::prop_assert!(turns.first().is_none_or(|turn| *turn != Preempt));
        }
    }
}
