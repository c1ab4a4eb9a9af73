//! Buffers that are reused between calls, so that a step of a model allocates nothing.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Initialised memory, aligned to a cache line. Its content is left over from the last use.
pub(crate) struct Buffer {
    start: *mut u8,
    capacity: usize,
}

// SAFETY: the buffer owns its memory, like a Vec<u8>, and has nothing that belongs to a thread.
unsafe impl Send for Buffer {}
// SAFETY: shared access only copies the pointer; every use of the pointer is unsafe and has its own reason.
unsafe impl Sync for Buffer {}

const ALIGN: usize = 64;
/// Bytes after the requested length that may be read (their values do not matter), so that kernels may prefetch and
/// over-read.
const SLACK: usize = 256;

impl Buffer {
    pub(crate) const fn empty() -> Buffer {
        Buffer { start: std::ptr::null_mut(), capacity: 0 }
    }

    /// Makes room for at least `bytes` bytes, aligned to 64, and returns the start; the content is lost when the buffer
    /// grows.
    pub(crate) fn reserve(&mut self, bytes: usize) -> *mut u8 {
        if self.capacity < bytes.saturating_add(SLACK) {
            self.free();
            let capacity = (bytes + SLACK).next_multiple_of(4096);
            let Ok(layout) = Layout::from_size_align(capacity, ALIGN) else { panic!("scratch of {bytes} bytes") };
            // SAFETY: the layout's size is not zero, since `SLACK` is added.
            let start = unsafe { alloc(layout) };
            if start.is_null() {
                handle_alloc_error(layout);
            }
            // SAFETY: freshly allocated with this capacity. Initialised, so that slices over the memory are sound.
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
            // SAFETY: the memory was allocated in `reserve` with exactly this layout, which was valid there.
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

/// Pool of buffers for callers. It has as many as there were concurrent uses, each as large as its largest use.
#[derive(Default)]
pub(crate) struct Pool(Mutex<Vec<Buffer>>);

impl Pool {
    pub(crate) fn take(&self) -> Borrowed<'_> {
        let buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Borrowed { buffer: buffer.unwrap_or(Buffer::empty()), pool: self }
    }
}

/// A buffer borrowed from a pool, returned on drop.
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

/// Runs `work` with a scratch buffer of this thread, of at least `bytes` bytes.
pub(crate) fn with_local<R>(bytes: usize, work: impl FnOnce(*mut u8) -> R) -> R {
    // The buffer is taken out while it is used, so that a nested use gets a buffer of its own.
    let mut buffer = LOCAL.replace(Buffer::empty());
    let result = work(buffer.reserve(bytes));
    LOCAL.set(buffer);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page has room for the first use and its slack, but not for the slack of the second one.
    #[test]
    fn every_use_has_its_slack() {
        let mut buffer = Buffer::empty();
        for bytes in [0, 100, 4096 - SLACK, 4096 - SLACK + 1, 4096, 1, 8192] {
            let start = buffer.reserve(bytes);
            assert!(start.addr().is_multiple_of(ALIGN) && buffer.capacity >= bytes + SLACK, "{bytes}");
        }
    }
}
