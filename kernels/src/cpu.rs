//! The team of threads and the instruction set that everything runs through.

use std::fmt;
use std::sync::Arc;

use crate::Isa;
use crate::scratch::{Borrowed, Pool};
use crate::threads::Team;

/// The team of threads and the instruction set: everything runs through it. Clones share the team.
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
    /// A team of `threads` threads (the caller of each operation is one of them) with the best instruction set here.
    pub fn new(threads: usize) -> Cpu {
        Cpu::with_isa(threads, Isa::detect())
    }

    /// As [`Cpu::new`], with an instruction set of choice. One that this machine lacks is lowered to what it has.
    pub fn with_isa(threads: usize, isa: Isa) -> Cpu {
        let isa = isa.min(Isa::detect());
        Cpu { inner: Arc::new(Inner { team: Team::new(threads), isa, pool: Pool::default() }) }
    }

    /// Threads of the team, the caller included.
    pub fn threads(&self) -> usize {
        self.inner.team.threads()
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.inner.isa
    }

    /// Calls work(i) for every i in 0..pieces on the team (the caller takes part); returns when all are done. A call
    /// from within work runs inline; callers on several threads take turns.
    pub fn run(&self, pieces: usize, work: &(dyn Fn(usize) + Sync)) {
        self.inner.team.run(pieces, work);
    }

    /// A buffer that lives on in this Cpu.
    pub(crate) fn scratch(&self) -> Borrowed<'_> {
        self.inner.pool.take()
    }

    /// Calls work(row) for every row, on the team in handfuls of rows, or inline where there are at most `small` numbers.
    pub(crate) fn rows(&self, rows: usize, width: usize, small: usize, work: &(dyn Fn(usize) + Sync)) {
        if rows * width <= small {
            return (0..rows).for_each(work);
        }
        let step = (small / 4 / width.max(1)).clamp(1, rows);
        self.run(rows.div_ceil(step), &|piece| (piece * step..rows.min((piece + 1) * step)).for_each(work));
    }
}
