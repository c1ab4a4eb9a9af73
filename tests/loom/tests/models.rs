//! Every model, as a test.

/// One test for each model.
macro_rules! models {
    ($($part:ident: $($model:ident)*;)*) => {$(
        mod $part {
            $(#[test]
            fn $model() {
                secateur_loom::$part::$model();
            })*
        }
    )*};
}

models! {
    bell:
        no_ring_is_lost
        what_was_done_before_the_ring_is_seen_after_it;
    queue:
        who_waits_is_served_by_whoever_makes_room_last
        blocks_are_evicted_for_who_waits_whoever_makes_room
        who_leaves_is_passed_over_and_takes_no_block_along
        who_waits_behind_one_that_leaves_is_served
        nobody_is_served_while_the_engine_gives_out_blocks
        one_release_serves_everyone_it_is_enough_for
        who_waits_is_served_when_the_engine_has_given_out_blocks
        who_comes_while_blocks_come_back_is_served;
    team:
        every_piece_runs_once_before_the_region_ends
        workers_may_miss_a_region
        a_parked_worker_wakes_for_a_region
        a_dropped_team_ends_its_workers
        a_panic_reaches_the_caller_when_the_region_is_over
        callers_take_turns
        a_nested_call_runs_inline;
}
