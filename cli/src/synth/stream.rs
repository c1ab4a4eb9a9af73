//! Writes tensors to files piece by piece: memory use does not depend on the model's size.

use std::{fs::File, io::Write, path::Path};

use anyhow::Context;
use bytemuck::Pod;
use secateur_model::FloatType;

use super::{
    numbers::{self, Pool, Table},
    report::Progress,
    shards::{self, Shard},
    tensors::{Fill, Tensor},
};

/// Numbers made at a time: their bytes stay in the processor's cache until they are written.
const PIECE: usize = 1 << 17;

/// Writes every file, and the index if there are several; returns their bytes.
pub fn weights(
    dir: &Path,
    shards: &[Shard],
    dtype: FloatType,
    seed: u64,
    progress: &mut Progress,
) -> anyhow::Result<u64> {
    let mut source = Source { pool: Pool::new(), tables: Vec::new(), dtype, seed };
    let mut bytes = 0;
    for shard in shards {
        let path = dir.join(&shard.file);
        bytes += one(&path, shard, &mut source, progress)
            .with_context(|| format!("cannot write {}; free some space or choose another --out", path.display()))?;
    }
    if shards.len() > 1 {
        let path = dir.join(shards::INDEX);
        let text = serde_json::to_vec_pretty(&shards::index(shards))?;
        std::fs::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
        bytes += text.len() as u64;
    }
    Ok(bytes)
}

fn one(path: &Path, shard: &Shard, source: &mut Source, progress: &mut Progress) -> anyhow::Result<u64> {
    let mut file = File::create(path)?;
    let header = shards::header(shard, source.dtype)?;
    file.write_all(&header)?;
    for tensor in &shard.tensors {
        source.write(tensor, &mut |piece: &[u8]| {
            progress.wrote(piece.len() as u64);
            file.write_all(piece)
        })?;
    }
    Ok(header.len() as u64 + shard.bytes)
}

/// Source of the numbers.
struct Source {
    pool: Pool,
    /// Tables by fill; there are few: one for each standard deviation, and ones.
    tables: Vec<(Fill, Table)>,
    dtype: FloatType,
    seed: u64,
}

impl Source {
    fn write(&mut self, tensor: &Tensor, sink: &mut dyn FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
        let seed = seed_of(self.seed, &tensor.name);
        match self.table(tensor.fill) {
            Table::Two(table) => pieces(table, seed, tensor.len(), sink),
            Table::Four(table) => pieces(table, seed, tensor.len(), sink),
        }
    }

    fn table(&mut self, fill: Fill) -> &Table {
        let at = self.tables.iter().position(|(known, _)| *known == fill).unwrap_or_else(|| {
            self.tables.push((fill, self.pool.table(fill, self.dtype)));
            self.tables.len() - 1
        });
        &self.tables[at].1
    }
}

fn pieces<T: Pod>(
    table: &[T; 1 << 16],
    seed: u64,
    len: u64,
    sink: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut piece = vec![T::zeroed(); PIECE.min(usize::try_from(len).unwrap_or(PIECE))];
    let mut first = 0;
    while first < len {
        let now = usize::try_from(len - first).unwrap_or(PIECE).min(PIECE);
        numbers::fill(table, seed, first, &mut piece[..now]);
        sink(bytemuck::cast_slice(&piece[..now]))?;
        first += now as u64;
    }
    Ok(())
}

/// The seed of a tensor's own stream, so that its numbers do not depend on the tensors before it.
fn seed_of(seed: u64, name: &str) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key("secateur synth tensor v1");
    hasher.update(&seed.to_le_bytes());
    hasher.update(name.as_bytes());
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
