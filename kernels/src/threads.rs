//! A fixed team of threads.
//!
//! A call of the team is a region. Regions are short (a decode step has hundreds), so a worker spins for some tens of
//! microseconds after a region; it then parks, since the machine is shared with other processes. A region does not wait
//! for workers that have not woken up: a worker enters a region by raising its count of active workers, which it can do
//! only while the caller has not closed the region.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::PoisonError;

use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering, Spinning, UnsafeCell, fence, spin_loop};

/// Bit of the state that says that the region accepts workers. The bits below it are the number of active workers; bits
/// 32 and up are the region's number.
const OPEN: u64 = 1 << 31;
const ACTIVE: u64 = OPEN - 1;

thread_local! {
    /// Whether this thread is inside a region (of any team), where a call runs inline.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

type Work<'a> = &'a (dyn Fn(usize) + Sync);

/// The work of a region. It lives on the caller's stack; workers refer to it only while they are active.
struct Region {
    work: Work<'static>,
    pieces: usize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// A value in cache lines of its own (two, since neighbouring lines are fetched together).
#[repr(align(128))]
struct Padded<T>(T);

struct Shared {
    state: Padded<AtomicU64>,
    next: Padded<AtomicUsize>,
    region: UnsafeCell<*const Region>,
    stop: AtomicBool,
    parked: Vec<Padded<AtomicBool>>,
}

// SAFETY: `region` is written by the one caller that holds the team's mutex while no worker is active, and read by
// workers only after they have become active, which the state's acquire/release orders.
unsafe impl Sync for Shared {}
// SAFETY: nothing in it belongs to a thread, and access to the pointer in `region` is ordered as for `Sync`.
unsafe impl Send for Shared {}

/// Worker threads that take part in the regions of the team's caller, who takes part as well.
pub(crate) struct Team {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    caller: Mutex<()>,
}

impl Team {
    /// A team of `threads` threads, the caller included.
    pub(crate) fn new(threads: usize) -> Team {
        let count = threads.max(1) - 1;
        let shared = Arc::new(Shared {
            state: Padded(AtomicU64::new(0)),
            next: Padded(AtomicUsize::new(0)),
            region: UnsafeCell::new(std::ptr::null()),
            stop: AtomicBool::new(false),
            parked: (0..count).map(|_| Padded(AtomicBool::new(false))).collect(),
        });
        let mut workers = Vec::with_capacity(count);
        for index in 0..count {
            let shared = shared.clone();
            // A machine that refuses a thread gets a smaller team: every region still completes.
            match thread::Builder::new().name(format!("kernels-{}", index + 1)).spawn(move || shared.serve(index)) {
                Ok(worker) => workers.push(worker),
                Err(_) => break,
            }
        }
        Team { shared, workers, caller: Mutex::new(()) }
    }

    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    pub(crate) fn run(&self, pieces: usize, work: Work<'_>) {
        if pieces <= 1 || self.workers.is_empty() || INSIDE.with(Cell::get) {
            (0..pieces).for_each(work);
            return;
        }
        let _caller = self.caller.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: only the lifetime changes, and workers use the reference only while they are active: `Close` below
        // does not let this function return or unwind before no worker is.
        let work: Work<'static> = unsafe { std::mem::transmute::<Work<'_>, Work<'static>>(work) };
        let region = Region { work, pieces, panic: Mutex::new(None) };
        let shared = &*self.shared;
        // SAFETY: this thread holds the caller mutex, and the previous region is closed with no worker active, so
        // nobody else accesses the pointer.
        shared.region.with_mut(|place| unsafe { *place = &raw const region });
        shared.next.0.store(0, Ordering::Relaxed);
        let number = (shared.state.0.load(Ordering::Relaxed) >> 32).wrapping_add(1) & 0xffff_ffff;
        shared.state.0.store(number << 32 | OPEN, Ordering::Release);
        // Orders the store of the open state before the loads of `parked`; a worker that parks does the reverse.
        fence(Ordering::SeqCst);
        for (worker, parked) in self.workers.iter().zip(&shared.parked).take(pieces - 1) {
            if parked.0.load(Ordering::Relaxed) && parked.0.swap(false, Ordering::Relaxed) {
                worker.thread().unpark();
            }
        }
        {
            let _close = Close(shared);
            let _inside = Inside::enter();
            shared.take_pieces(&region);
        }
        let panic = region.panic.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches the panics of its work, so it has nothing to report.
            let _ = worker.join();
        }
    }
}

/// Guard that closes the region and waits for its workers on drop, so also when the caller's own piece panics.
struct Close<'a>(&'a Shared);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        let state = &self.0.state.0;
        state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0u32;
        while state.load(Ordering::Acquire) & ACTIVE != 0 {
            spins += 1;
            if spins < 2000 {
                spin_loop();
            } else {
                // The worker may be waiting for the core that this thread spins on.
                thread::yield_now();
            }
        }
    }
}

struct Inside(bool);

impl Inside {
    fn enter() -> Inside {
        Inside(INSIDE.with(|inside| inside.replace(true)))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.with(|inside| inside.set(self.0));
    }
}

impl Shared {
    fn take_pieces(&self, region: &Region) {
        loop {
            let piece = self.next.0.fetch_add(1, Ordering::Relaxed);
            if piece >= region.pieces {
                return;
            }
            (region.work)(piece);
        }
    }

    fn serve(&self, index: usize) {
        INSIDE.with(|inside| inside.set(true));
        let mut last = 0;
        let mut spinning = Spinning::begin();
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            if self.enter(&mut last) {
                spinning = Spinning::begin();
                continue;
            }
            if spinning.goes_on() {
                continue;
            }
            let parked = &self.parked[index].0;
            parked.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if !self.open(last) && !self.stop.load(Ordering::SeqCst) {
                thread::park();
            }
            parked.store(false, Ordering::Relaxed);
            spinning = Spinning::begin();
        }
    }

    fn open(&self, last: u64) -> bool {
        let state = self.state.0.load(Ordering::Acquire);
        state & OPEN != 0 && state >> 32 != last
    }

    /// Takes part in the open region, if there is one that this worker has not seen. Returns false if there is none.
    fn enter(&self, last: &mut u64) -> bool {
        if !self.open(*last) {
            return false;
        }
        let state = self.state.0.load(Ordering::Acquire);
        if state & OPEN == 0
            || self.state.0.compare_exchange(state, state + 1, Ordering::AcqRel, Ordering::Relaxed).is_err()
        {
            return true; // The state has changed: check again.
        }
        *last = state >> 32;
        // SAFETY: this worker is counted as active, so the caller keeps the region alive until the count is lowered
        // below.
        let region = self.region.with(|place| unsafe { &**place });
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.take_pieces(region))) {
            *region.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
        }
        self.state.0.fetch_sub(1, Ordering::Release);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;
    use std::thread;
    use std::time::{Duration, Instant};

    #[test]
    fn every_piece_runs_once() {
        for threads in [1, 2, 3, 5] {
            let team = Team::new(threads);
            for pieces in [0, 1, 2, 7, 100] {
                for _ in 0..50 {
                    let seen: Vec<_> = (0..pieces).map(|_| AtomicUsize::new(0)).collect();
                    team.run(pieces, &|i| {
                        seen[i].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(seen.iter().all(|n| n.load(Ordering::Relaxed) == 1));
                }
            }
        }
    }

    #[test]
    fn workers_wake_after_parking() {
        let team = Team::new(2);
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(2));
            let names = Mutex::new(std::collections::HashSet::new());
            let began = AtomicUsize::new(0);
            team.run(2, &|_| {
                names.lock().unwrap().insert(thread::current().id());
                began.fetch_add(1, Ordering::Relaxed);
                // Each piece waits for the other to begin, so that one thread does not get both; if the worker never
                // wakes, only one name is recorded.
                let since = Instant::now();
                while began.load(Ordering::Relaxed) < 2 && since.elapsed() < Duration::from_secs(10) {
                    thread::yield_now();
                }
            });
            assert_eq!(names.into_inner().unwrap().len(), 2);
        }
    }

    #[test]
    fn nested_and_concurrent_calls_complete() {
        let team = Team::new(3);
        let total = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        team.run(5, &|_| {
                            team.run(3, &|_| {
                                total.fetch_add(1, Ordering::Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 4 * 100 * 15);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_lives_on() {
        let team = Team::new(3);
        for _ in 0..20 {
            let result = catch_unwind(AssertUnwindSafe(|| {
                team.run(8, &|i| assert!(i != 5, "piece five"));
            }));
            assert!(result.is_err());
        }
        let count = AtomicUsize::new(0);
        team.run(8, &|_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.into_inner(), 8);
    }
}
