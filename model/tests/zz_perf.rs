use secateur_model::*;
use std::ops::ControlFlow;
use std::time::Instant;
#[test]
fn perf() {
    let dir = std::path::PathBuf::from(std::env::var("SCRATCH_DIR").unwrap());
    let m = Model::load(&dir, &LoadOptions { vision: true, ..LoadOptions::default() }).unwrap();
    let p = Picture::decode(&std::fs::read(dir.join("pictures/waves.png")).unwrap(), &PictureLimits::default()).unwrap();
    m.see(&[p.clone()]).unwrap();
    let t = Instant::now();
    for _ in 0..5 { m.see(&[p.clone()]).unwrap(); }
    println!("see {:?}", t.elapsed() / 5);
    for n in [168usize, 700, 1500, 4000] {
        let toks: Vec<u32> = (0..n).map(|i| 20 + (i * 7919 % 1400) as u32).collect();
        let t = Instant::now();
        let mut kv = vec![];
        let l = m.prefill(&[Segment::Text(&toks)], &mut |k| { kv.push(k); ControlFlow::Continue(()) }).unwrap();
        let pre = t.elapsed();
        let mut c = m.new_cache(n + 40).unwrap();
        let t = Instant::now();
        for k in &kv { c.load_layer(k.layer, k.tokens, &k.k, &k.v).unwrap(); }
        let ld = t.elapsed();
        let t = Instant::now();
        for i in 0..32 { m.decode_step(&mut c, 30 + i).unwrap(); }
        println!("n {n} prefill {pre:?} load {ld:?} step {:?} {}", t.elapsed() / 32, l[0]);
    }
    let s = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", s.lines().find(|l| l.starts_with("VmHWM")).unwrap());
    let big = Picture::from_rgb(8000, 6000, vec![7; 8000 * 6000 * 3]).unwrap();
    let t = Instant::now();
    m.pixel_values(&big).unwrap();
    println!("48MP preprocess {:?}", t.elapsed());
}
