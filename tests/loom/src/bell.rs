//! Models of the engines' bell.

use loom::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{explore, parts::bell::Bell};

/// Two threads change something and ring. The waiter, which looks only after it was woken, sees both changes: with a
/// ring lost it would wait forever, which is a deadlock.
pub fn no_ring_is_lost() {
    explore(4, || {
        let (bell, made) = (Bell::default(), Arc::new(AtomicUsize::new(0)));
        let ringers: Vec<_> = (0..2)
            .map(|_| {
                let (bell, made) = (bell.clone(), made.clone());
                thread::spawn(move || {
                    made.fetch_add(1, Ordering::Relaxed);
                    bell.ring();
                })
            })
            .collect();
        while made.load(Ordering::Relaxed) < 2 {
            bell.wait();
        }
        ringers.into_iter().for_each(|ringer| ringer.join().unwrap());
    });
}

/// What was done before a ring is seen after the wait that the ring ended, without any ordering of its own.
pub fn what_was_done_before_the_ring_is_seen_after_it() {
    explore(4, || {
        let (bell, made) = (Bell::default(), Arc::new(loom::cell::UnsafeCell::new(0)));
        let ringer = thread::spawn({
            let (bell, made) = (bell.clone(), made.clone());
            move || {
                let _rung_after = bell.on_drop();
                // SAFETY: the other thread reads only after the ring.
                made.with_mut(|made| unsafe { *made = 1 });
            }
        });
        bell.wait();
        // SAFETY: the other thread has rung, and writes nothing afterwards.
        assert_eq!(made.with(|made| unsafe { *made }), 1);
        ringer.join().unwrap();
    });
}
