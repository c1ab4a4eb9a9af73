//! Benchmark of the products, relative to peaks measured in the same run. `--quick` takes fewer and shorter
//! measurements.
//!
//! cargo bench -p secateur-kernels --bench products -- [--quick] [--threads N] [--only WORD] [--rows N,N] [--shape INPUTS,OUTPUTS] [--resident] [--processor-time]
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod peak;

use bytes::Bytes;
use secateur_kernels::{Cpu, Format, Isa, Matrix, from_f32};

fn matrix(format: Format, outputs: usize, inputs: usize) -> Matrix {
    let numbers: Vec<f32> = (0..outputs * inputs).map(|i| ((i * 7919) % 1009) as f32 / 1009.0 - 0.5).collect();
    let mut bytes = vec![0; numbers.len() * format.bytes()];
    from_f32(format, &numbers, &mut bytes);
    Matrix::new(format, outputs, inputs, Bytes::from(bytes)).unwrap()
}

struct Bench {
    cpu: Cpu,
    quick: bool,
    only: Option<String>,
    read: f64,
    resident: bool,
}

impl Bench {
    /// Seconds per call of the best of several rounds.
    fn time(&self, calls: usize, work: impl FnMut(usize)) -> f64 {
        peak::best(if self.quick { 3 } else { 7 }, calls, work)
    }

    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|word| name.contains(word.as_str()))
    }

    /// Measures products with many matrices of one shape in turn, so that none is in a cache when its turn comes.
    fn stream(&self, name: &str, make: &dyn Fn() -> Matrix, rows: &[usize], flops_peak: f64) {
        if !self.wants(name) {
            return;
        }
        let first = make();
        let total = if self.resident {
            0
        } else if self.quick {
            300 << 20
        } else {
            1200 << 20
        };
        let count = (total / first.bytes()).max(2);
        let calls = count.max(8192 * 2048 / first.bytes());
        let mut all: Vec<Matrix> = vec![first];
        all.resize_with(count, make);
        let (outputs, inputs) = (all[0].outputs(), all[0].inputs());
        for rows in rows {
            let x: Vec<f32> = (0..rows * inputs).map(|i| (i % 97) as f32 / 97.0 - 0.5).collect();
            let mut y = vec![0.0; rows * outputs];
            let seconds = self.time(calls, |i| self.cpu.project(&x, *rows, &[&all[i % count]], &mut y, false));
            let bytes = all[0].bytes() as f64 / seconds / 1e9;
            let flops = 2.0 * (rows * inputs * outputs) as f64 / seconds / 1e9;
            let bound = (bytes / self.read).max(flops / flops_peak);
            println!(
                "{name:28} {rows:4} x {inputs:5} -> {outputs:5}  {:9.1} us  {bytes:6.1} GB/s ({:3.0}%)  {flops:7.1} GFLOP/s ({:3.0}%)  bound {:3.0}%",
                seconds * 1e6,
                bytes / self.read * 100.0,
                flops / flops_peak * 100.0,
                bound * 100.0
            );
        }
    }

    fn gated(&self, name: &str, make: &dyn Fn(usize, usize) -> Matrix, rows: usize) {
        if !self.wants(name) {
            return;
        }
        let (inputs, outputs) = (2048, 8192);
        let (gate, up) = (make(outputs, inputs), make(outputs, inputs));
        let x: Vec<f32> = (0..rows * inputs).map(|i| (i % 97) as f32 / 97.0 - 0.5).collect();
        let mut both = vec![0.0; rows * 2 * outputs];
        let mut y = vec![0.0; rows * outputs];
        let products = self.time(2, |_| self.cpu.project(&x, rows, &[&gate, &up], &mut both, false));
        let gated = self.time(2, |_| self.cpu.gated(&x, rows, &gate, &up, &mut y));
        println!(
            "{name:28} {rows:4} x {inputs} -> 2 x {outputs}: products {:8.2} ms, gated {:8.2} ms, {:+.1}%",
            products * 1e3,
            gated * 1e3,
            (gated / products - 1.0) * 100.0
        );
    }
}

fn main() {
    let arguments = peak::Arguments::read();
    let (threads, quick) = (arguments.threads(), arguments.has("--quick"));
    let cpu = Cpu::new(threads);
    let read = peak::read(&cpu);
    let (single, pairs, bytes) = (peak::fma(&cpu), peak::pairs(&cpu), peak::bytes(&cpu));
    println!("{cpu:?}: read {read:.1} GB/s; f32 {single:.0}, bf16 {pairs:.0}, int8 {bytes:.0} G(FL)OP/s");
    let bench = Bench { cpu, quick, only: arguments.value("--only"), read, resident: arguments.has("--resident") };
    let shapes: &[(usize, usize)] =
        if quick { &[(2048, 8192), (8192, 2048)] } else { &[(2048, 8192), (8192, 2048), (2048, 2048), (4096, 11008)] };
    let shape = arguments.numbers("--shape");
    let given = [(*shape.first().unwrap_or(&0), *shape.last().unwrap_or(&0))];
    let shapes = if shape.is_empty() { shapes } else { &given };
    let asked = arguments.numbers("--rows");
    let rows: &[usize] = if !asked.is_empty() {
        &asked
    } else if quick {
        &[1, 16, 512]
    } else {
        &[1, 2, 4, 8, 16, 32, 64, 512]
    };
    for (inputs, outputs) in shapes.iter().copied() {
        bench.stream("bf16", &|| matrix(Format::Bf16, outputs, inputs), rows, pairs);
        bench.stream("int8", &|| matrix(Format::Bf16, outputs, inputs).quantize(&bench.cpu), rows, bytes);
        bench.stream("f16", &|| matrix(Format::F16, outputs, inputs), rows, single);
        bench.stream("f32", &|| matrix(Format::F32, outputs, inputs), rows, single);
    }
    bench.gated("gated bf16", &|o, i| matrix(Format::Bf16, o, i), 512);
    bench.gated("gated int8", &|o, i| matrix(Format::Bf16, o, i).quantize(&bench.cpu), 512);
    if !quick && Isa::detect() > Isa::Avx2 {
        let cpu = Cpu::with_isa(threads, Isa::Avx2);
        println!("{cpu:?}");
        let (read, only) = (bench.read, bench.only.clone());
        let bench = Bench { cpu, quick, only, read, resident: false };
        for rows in [1, 16, 512] {
            bench.stream("avx2 bf16", &|| matrix(Format::Bf16, 8192, 2048), &[rows], single);
            bench.stream("avx2 int8", &|| matrix(Format::Bf16, 8192, 2048).quantize(&bench.cpu), &[rows], bytes);
        }
    }
}
