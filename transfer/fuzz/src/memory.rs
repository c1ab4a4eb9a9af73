//! How much memory a piece of work takes at once: an allocator that counts. What the fuzzer itself allocates is C++'s, and
//! not counted.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

// One thread runs a target, so that a load and a store are enough.
static USED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = USED.load(Relaxed).wrapping_add(layout.size());
        USED.store(used, Relaxed);
        if used > PEAK.load(Relaxed) {
            PEAK.store(used, Relaxed);
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        USED.store(USED.load(Relaxed).wrapping_sub(layout.size()), Relaxed);
        // SAFETY: the caller's promise; the memory is the system's.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Does the work, which may take at most so many bytes at once beyond those in use before it.
pub fn within<T>(bytes_max: usize, work: impl FnOnce() -> T) -> T {
    let before = USED.load(Relaxed);
    PEAK.store(before, Relaxed);
    let done = work();
    let taken = PEAK.load(Relaxed) - before;
    assert!(taken <= bytes_max, "took {taken} bytes where {bytes_max} are allowed");
    done
}
