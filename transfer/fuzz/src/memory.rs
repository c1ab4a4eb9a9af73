//! A counting allocator, which measures the peak memory of a piece of work. The fuzzer's own memory is allocated by C++
//! and is not counted.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

// One thread runs a target, so plain loads and stores suffice.
static USED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the trait's contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = USED.load(Relaxed).wrapping_add(layout.size());
        USED.store(used, Relaxed);
        if used > PEAK.load(Relaxed) {
            PEAK.store(used, Relaxed);
        }
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is that of `System.alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        USED.store(USED.load(Relaxed).wrapping_sub(layout.size()), Relaxed);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`, and the memory came from `System` with the
        // same layout.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Runs `work`, and panics if its memory exceeds what was in use before it by more than `bytes_max` at any time.
pub fn within<T>(bytes_max: usize, work: impl FnOnce() -> T) -> T {
    let before = USED.load(Relaxed);
    PEAK.store(before, Relaxed);
    let done = work();
    let taken = PEAK.load(Relaxed) - before;
    assert!(taken <= bytes_max, "took {taken} bytes where {bytes_max} are allowed");
    done
}
