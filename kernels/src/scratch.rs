//! Buffers that are kept between calls, so that a step of a model allocates nothing.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Memory aligned to a cache line. Contents are whatever the last user left.
pub(crate) struct Buffer {
    start: *mut u8,
    capacity: usize,
}

// SAFETY: it owns its memory, as a Vec<u8> would.
unsafe impl Send for Buffer {}
// SAFETY: shared access only reads the pointer; users of the pointer answer for what they do.
unsafe impl Sync for Buffer {}

const ALIGN: usize = 64;
/// Bytes past the asked-for length that may be read (not relied upon), so that kernels may prefetch and over-read.
const SLACK: usize = 256;

impl Buffer {
    pub(crate) const fn empty() -> Buffer {
        Buffer { start: std::ptr::null_mut(), capacity: 0 }
    }

    /// At least `bytes` bytes, aligned to 64; the old contents are lost when it grows.
    pub(crate) fn reserve(&mut self, bytes: usize) -> *mut u8 {
        if self.capacity < bytes || self.start.is_null() {
            self.free();
            let capacity = (bytes + SLACK).next_multiple_of(4096);
            let Ok(layout) = Layout::from_size_align(capacity, ALIGN) else { panic!("scratch of {bytes} bytes") };
            // SAFETY: the size is not zero.
            let start = unsafe { alloc(layout) };
            if start.is_null() {
                handle_alloc_error(layout);
            }
            // SAFETY: freshly allocated; initialised so that slices over it are always sound.
            unsafe { start.write_bytes(0, capacity) };
            *self = Buffer { start, capacity };
        }
        self.start
    }

    pub(crate) fn pointer(&self) -> *const u8 {
        self.start
    }

    fn free(&mut self) {
        if !self.start.is_null() {
            // SAFETY: allocated in `reserve` with this layout.
            unsafe { dealloc(self.start, Layout::from_size_align_unchecked(self.capacity, ALIGN)) };
            self.start = std::ptr::null_mut();
            self.capacity = 0;
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.free();
    }
}

/// Buffers for callers: as many as there are calls at once, each as large as the largest use.
#[derive(Default)]
pub(crate) struct Pool(Mutex<Vec<Buffer>>);

impl Pool {
    pub(crate) fn take(&self) -> Borrowed<'_> {
        let buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Borrowed { buffer: buffer.unwrap_or(Buffer::empty()), pool: self }
    }
}

/// A buffer of a pool, given back on drop.
pub(crate) struct Borrowed<'a> {
    buffer: Buffer,
    pool: &'a Pool,
}

impl Deref for Borrowed<'_> {
    type Target = Buffer;
    fn deref(&self) -> &Buffer {
        &self.buffer
    }
}

impl DerefMut for Borrowed<'_> {
    fn deref_mut(&mut self) -> &mut Buffer {
        &mut self.buffer
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        let buffer = std::mem::replace(&mut self.buffer, Buffer::empty());
        self.pool.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

thread_local! {
    static LOCAL: Cell<Buffer> = const { Cell::new(Buffer::empty()) };
}

/// Runs `work` with this thread's own scratch of at least `bytes` bytes.
pub(crate) fn with_local<R>(bytes: usize, work: impl FnOnce(*mut u8) -> R) -> R {
    // Taken out for the time of the use: a nested use would get a buffer of its own.
    let mut buffer = LOCAL.replace(Buffer::empty());
    let result = work(buffer.reserve(bytes));
    LOCAL.set(buffer);
    result
}
