//! Instruction sets, and detection of those that this machine has.

use std::fmt;

/// An instruction set, chosen at run time. The order is weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust, in the instructions that the compiler chooses.
    Portable,
    /// AVX2 with FMA and F16C: 8 floats in a register.
    Avx2,
    /// AVX-512 F, BW, DQ and VL: 16 floats in a register.
    Avx512,
    /// AVX-512 with dot products of bytes (VNNI).
    Avx512Vnni,
    /// AVX-512 with VNNI and dot products of bf16 pairs.
    Avx512Bf16,
}

impl Isa {
    /// The strongest instruction set of this machine.
    pub fn detect() -> Isa {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if !(has!("avx2") && has!("fma") && has!("f16c")) {
                return Isa::Portable;
            }
            if !(has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl")) {
                return Isa::Avx2;
            }
            if !has!("avx512vnni") {
                return Isa::Avx512;
            }
            if has!("avx512bf16") { Isa::Avx512Bf16 } else { Isa::Avx512Vnni }
        }
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Portable
    }

    /// Every instruction set that this machine can run, weakest first.
    pub fn all_here() -> Vec<Isa> {
        let best = Isa::detect();
        [Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Avx512Vnni, Isa::Avx512Bf16]
            .into_iter()
            .filter(|isa| *isa <= best)
            .collect()
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Avx512Vnni => "avx512-vnni",
            Isa::Avx512Bf16 => "avx512-bf16",
        })
    }
}
