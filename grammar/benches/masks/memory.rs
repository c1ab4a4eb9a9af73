//! A counting allocator: how much memory is in use.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

// One thread allocates, so plain loads and stores suffice.
static USED: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the trait's contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        USED.store(USED.load(Relaxed).wrapping_add(layout.size()), Relaxed);
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

/// Bytes that are in use.
pub fn used() -> usize {
    USED.load(Relaxed)
}
