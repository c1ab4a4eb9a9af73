//! Models of the kernels' team of threads: how a region begins and ends, how workers park and wake.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use loom::{
    cell::UnsafeCell,
    sync::{Arc, Condvar, Mutex},
    thread,
};

use crate::{explore, parts::threads::Team};

/// Memory that pieces write without any ordering of their own, as kernels do.
struct Parts(Vec<UnsafeCell<usize>>);

// SAFETY: each piece writes its own part, and the caller reads when the region is over; loom reports any other order.
unsafe impl Sync for Parts {}

impl Parts {
    fn new(count: usize) -> Self {
        Self((0..count).map(|_| UnsafeCell::new(0)).collect())
    }

    fn write(&self, piece: usize) {
        // SAFETY: see `Parts`.
        self.0[piece].with_mut(|part| unsafe { *part += piece + 1 });
    }

    fn are_written(&self) -> bool {
        // SAFETY: see `Parts`.
        self.0.iter().enumerate().all(|(piece, part)| part.with(|part| unsafe { *part }) == piece + 1)
    }
}

/// Every piece of a region runs once, what pieces wrote is there when it ends, and no worker uses it afterwards.
pub fn every_piece_runs_once_before_the_region_ends() {
    explore(3, || {
        let team = Team::new(2);
        for pieces in [2, 3] {
            let parts = Parts::new(pieces);
            team.run(pieces, &|piece| parts.write(piece));
            assert!(parts.are_written());
        }
    });
}

/// The same with two workers, which may enter a region, miss it, or come when the next one has begun.
pub fn workers_may_miss_a_region() {
    explore(1, || {
        let team = Team::new(3);
        for _ in 0..2 {
            let parts = Parts::new(2);
            team.run(2, &|piece| parts.write(piece));
            assert!(parts.are_written());
        }
    });
}

/// Each of two pieces waits until the other has begun, so one thread cannot run both: a worker that is parked, or about
/// to park, wakes up for a region.
pub fn a_parked_worker_wakes_for_a_region() {
    explore(3, || {
        let team = Team::new(2);
        let (begun, changed) = (Mutex::new(0), Condvar::new());
        team.run(2, &|_| {
            let mut begun = begun.lock().unwrap();
            *begun += 1;
            changed.notify_all();
            while *begun < 2 {
                begun = changed.wait(begun).unwrap();
            }
        });
    });
}

/// A team that is dropped ends its workers, whatever they are doing.
pub fn a_dropped_team_ends_its_workers() {
    explore(3, || drop(Team::new(3)));
}

/// A panic in a piece, on whichever thread, reaches the caller once no worker uses the region any more.
pub fn a_panic_reaches_the_caller_when_the_region_is_over() {
    const EXPECTED: &str = "a piece fails";
    explore(3, || {
        let team = Team::new(2);
        let parts = Parts::new(2);
        let failed = catch_unwind(AssertUnwindSafe(|| {
            team.run(2, &|piece| {
                parts.write(piece);
                if piece == 1 {
                    // Without a report: there are thousands of them.
                    resume_unwind(Box::new(EXPECTED));
                }
            });
        }));
        assert_eq!(failed.unwrap_err().downcast_ref(), Some(&EXPECTED));
        assert!(parts.are_written());
    });
}

/// Two threads that call the team take turns.
pub fn callers_take_turns() {
    explore(2, || {
        let team = Arc::new(Team::new(2));
        let region = |team: &Team| {
            let parts = Parts::new(2);
            team.run(2, &|piece| parts.write(piece));
            assert!(parts.are_written());
        };
        let other = thread::spawn({
            let team = team.clone();
            move || region(&team)
        });
        region(&team);
        other.join().unwrap();
    });
}

/// A call from within a piece runs inline, on a worker as on the caller.
pub fn a_nested_call_runs_inline() {
    explore(2, || {
        let team = Team::new(2);
        let parts = Parts::new(4);
        team.run(2, &|outer| team.run(2, &|inner| parts.write(2 * outer + inner)));
        assert!(parts.are_written());
    });
}
