//! The team of threads and the instruction set that every operation uses.

use std::fmt;
use std::sync::Arc;

use crate::Isa;
use crate::scratch::{Borrowed, Pool};
use crate::threads::Team;

/// A team of threads and an instruction set, on which every operation runs. Clones share the team.
#[derive(Clone)]
pub struct Cpu {
    inner: Arc<Inner>,
}

struct Inner {
    team: Team,
    isa: Isa,
    pool: Pool,
}

impl fmt::Debug for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cpu({} threads, {})", self.threads(), self.isa())
    }
}

impl Cpu {
    /// A team of `threads` threads (the caller of each operation is one of them) with this machine's best instruction
    /// set.
    pub fn new(threads: usize) -> Cpu {
        Cpu::with_isa(threads, Isa::detect())
    }

    /// A team like [`Cpu::new`]'s with the given instruction set; one that this machine lacks is lowered to its best.
    pub fn with_isa(threads: usize, isa: Isa) -> Cpu {
        let isa = isa.min(Isa::detect());
        Cpu { inner: Arc::new(Inner { team: Team::new(threads), isa, pool: Pool::default() }) }
    }

    /// Number of threads of the team, the caller included.
    pub fn threads(&self) -> usize {
        self.inner.team.threads()
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.inner.isa
    }

    /// Calls work(i) for every i in 0..pieces on the team, in which the caller takes part; returns when all calls are
    /// done. A call from within `work` runs inline; callers on several threads take turns.
    pub fn run(&self, pieces: usize, work: &(dyn Fn(usize) + Sync)) {
        self.inner.team.run(pieces, work);
    }

    /// Borrows a buffer from this Cpu's pool.
    pub(crate) fn scratch(&self) -> Borrowed<'_> {
        self.inner.pool.take()
    }

    /// Calls work(row) for every row: on the team, several rows per piece, or inline if there are at most `small`
    /// numbers.
    pub(crate) fn rows(&self, rows: usize, width: usize, small: usize, work: &(dyn Fn(usize) + Sync)) {
        if rows * width <= small {
            return (0..rows).for_each(work);
        }
        let step = (small / 4 / width.max(1)).clamp(1, rows);
        self.run(rows.div_ceil(step), &|piece| (piece * step..rows.min((piece + 1) * step)).for_each(work));
    }
}
