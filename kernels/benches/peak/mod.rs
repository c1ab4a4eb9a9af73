//! Code shared by the benchmarks: their arguments, the clock, and the machine's peaks (register-only loops and a plain
//! read of memory).
#![allow(dead_code)]

use std::hint::black_box;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use secateur_kernels::{Cpu, Isa};

/// Whether time is the process's processor time over its threads instead of wall-clock time, for a machine that others
/// use. Only meaningful with one thread, since waiting for each other counts.
static PROCESSOR_TIME: AtomicBool = AtomicBool::new(false);

/// The arguments of the command line.
pub struct Arguments(Vec<String>);

impl Arguments {
    /// Reads the arguments; `--processor-time` selects the clock.
    pub fn read() -> Arguments {
        let arguments = Arguments(std::env::args().collect());
        PROCESSOR_TIME.store(arguments.has("--processor-time"), Ordering::Relaxed);
        arguments
    }

    /// Whether a flag is given.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|argument| argument == name)
    }

    /// The value after a flag.
    pub fn value(&self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|argument| argument == name)?;
        self.0.get(at + 1).cloned()
    }

    /// The numbers after a flag; empty if the flag is not given.
    pub fn numbers(&self, name: &str) -> Vec<usize> {
        self.value(name).map_or(vec![], |text| text.split(',').map(|number| number.parse().unwrap()).collect())
    }

    /// Number of threads to compute with.
    pub fn threads(&self) -> usize {
        self.value("--threads").and_then(|threads| threads.parse().ok()).unwrap_or(2)
    }
}

/// Seconds since a fixed point in time.
fn now() -> f64 {
    #[cfg(target_os = "linux")]
    if PROCESSOR_TIME.load(Ordering::Relaxed) {
        #[repr(C)]
        struct Time {
            seconds: i64,
            nanoseconds: i64,
        }
        unsafe extern "C" {
            fn clock_gettime(clock: i32, time: *mut Time) -> i32;
        }
        let mut time = Time { seconds: 0, nanoseconds: 0 };
        // SAFETY: this is the C library's function, `time` has its layout of a timespec on 64-bit Linux, and 2 is
        // CLOCK_PROCESS_CPUTIME_ID.
        unsafe { clock_gettime(2, &raw mut time) };
        return time.seconds as f64 + time.nanoseconds as f64 * 1e-9;
    }
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}

/// Seconds per call of the best of `rounds` rounds, and one to warm up, of `calls` calls each.
pub fn best(rounds: usize, calls: usize, mut work: impl FnMut(usize)) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..=rounds {
        let start = now();
        for call in 0..calls {
            work(call);
        }
        best = best.min((now() - start) / calls as f64);
    }
    best
}

/// Rate at which the team reads memory, in GB/s.
pub fn read(cpu: &Cpu) -> f64 {
    let words = vec![1u64; (512 << 20) / 8];
    let pieces = 512;
    let each = words.len() / pieces;
    let seconds = best(4, 1, |_| {
        cpu.run(pieces, &|i| {
            let mut sums = [0u64; 32];
            for chunk in words[i * each..][..each].as_chunks::<32>().0 {
                for (sum, word) in sums.iter_mut().zip(chunk) {
                    *sum ^= word;
                }
            }
            black_box(sums);
        });
    });
    (words.len() * 8) as f64 / seconds / 1e9
}

const STEPS: usize = 2_000_000;

/// Rate of the whole team, in G operations per second, for a loop with `operations` operations per step.
fn loops(cpu: &Cpu, operations: usize, work: impl Fn() + Sync) -> f64 {
    let threads = cpu.threads();
    let seconds = best(5, 1, |_| {
        // The barrier makes every thread take exactly one piece.
        let start = std::sync::Barrier::new(threads);
        cpu.run(threads, &|_| {
            start.wait();
            work();
        });
    });
    (threads * STEPS * operations) as f64 / seconds / 1e9
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f")]
    pub fn fma() {
        let mut sums = [_mm512_set1_ps(black_box(1.0)); 16];
        let (a, b) = (_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(0.25)));
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(a, b, *sum);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub fn pairs() {
        let mut sums = [_mm512_set1_ps(black_box(1.0)); 16];
        // SAFETY: both types are vectors of 64 bytes, and any bits are valid in both.
        let a: __m512bh = unsafe { std::mem::transmute(_mm512_set1_epi32(black_box(0x3f00_3f00))) };
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, a, a);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub fn bytes() {
        let mut sums = [_mm512_set1_epi32(black_box(1)); 16];
        let a = _mm512_set1_epi32(black_box(0x0102_0304));
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, a, a);
            }
        }
        black_box(sums);
    }
}

/// Rate of f32 with AVX-512, in GFLOP/s; NaN without it.
pub fn fma(cpu: &Cpu) -> f64 {
    #[cfg(target_arch = "x86_64")]
    if Isa::detect() >= Isa::Avx512 {
        // SAFETY: the machine has AVX-512, as just checked.
        return loops(cpu, 16 * 32, || unsafe { x86::fma() });
    }
    f64::NAN
}

/// Rate of `vdpbf16ps`, in GFLOP/s; NaN without it.
pub fn pairs(cpu: &Cpu) -> f64 {
    #[cfg(target_arch = "x86_64")]
    if Isa::detect() >= Isa::Avx512Bf16 {
        // SAFETY: the machine has AVX-512 with BF16, as just checked.
        return loops(cpu, 16 * 64, || unsafe { x86::pairs() });
    }
    f64::NAN
}

/// Rate of `vpdpbusd`, in GOP/s; NaN without it.
pub fn bytes(cpu: &Cpu) -> f64 {
    #[cfg(target_arch = "x86_64")]
    if Isa::detect() >= Isa::Avx512Vnni {
        // SAFETY: the machine has AVX-512 with VNNI, as just checked.
        return loops(cpu, 16 * 128, || unsafe { x86::bytes() });
    }
    f64::NAN
}
