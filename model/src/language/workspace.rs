//! The buffers of a forward pass, kept between passes so that a decode step allocates next to nothing.

/// Buffers of a forward pass. The thread that runs passes owns one; it grows to the largest pass and keeps that size.
#[derive(Debug, Default)]
pub struct Workspace {
    /// The residual stream, [rows, hidden].
    pub(crate) x: Vec<f32>,
    /// Rows after a norm, [rows, hidden]; after a pass it begins with the final states of the wanted rows.
    pub(crate) normed: Vec<f32>,
    /// Numbers of `normed` that are final states, wanted rows times hidden.
    pub(crate) states: usize,
    /// Queries, keys and values side by side, [rows, (heads + 2 kv_heads) head_dim].
    pub(crate) qkv: Vec<f32>,
    /// Attention output of all heads, [rows, heads * head_dim].
    pub(crate) attended: Vec<f32>,
    /// Activations inside the MLP, [rows, intermediate].
    pub(crate) inner: Vec<f32>,
    /// Rotary cosines, [rows, head_dim / 2].
    pub(crate) cos: Vec<f32>,
    /// Rotary sines, [rows, head_dim / 2].
    pub(crate) sin: Vec<f32>,
    /// Logits of the rows whose logits are wanted, [rows, vocab].
    pub(crate) logits: Vec<f32>,
}

impl Workspace {
    /// Logits of the last pass, [rows whose logits are wanted, vocab], in the order of the feeds; callers may overwrite
    /// them.
    pub fn logits(&mut self) -> &mut [f32] {
        &mut self.logits
    }

    /// Final hidden states of the last pass, after the last norm, [rows whose state is wanted, hidden], in the order of
    /// the feeds.
    pub fn states(&self) -> &[f32] {
        &self.normed[..self.states]
    }
}

/// The first `len` numbers of a buffer, which grows if need be. Their values are left over from earlier use.
pub(crate) fn sized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

/// Copies the rows at `indices` to the front, in order. Indices ascend, so nothing is overwritten before it is read.
pub(crate) fn gather_rows(rows: &mut [f32], width: usize, indices: &[usize]) {
    for (to, &from) in indices.iter().enumerate() {
        if to != from {
            rows.copy_within(from * width..(from + 1) * width, to * width);
        }
    }
}

/// Copies the first rows of `from` back to the rows at `indices`.
pub(crate) fn scatter_rows(from: &[f32], rows: &mut [f32], width: usize, indices: &[usize]) {
    for (row, &to) in from.chunks_exact(width).zip(indices) {
        rows[to * width..(to + 1) * width].copy_from_slice(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_back_where_they_came_from() {
        let mut rows = vec![0.0; 6];
        scatter_rows(&[1.0, 2.0, 3.0, 4.0, 9.0, 9.0], &mut rows, 2, &[0, 2]);
        assert_eq!(rows, [1.0, 2.0, 0.0, 0.0, 3.0, 4.0]);
    }

    #[test]
    fn rows_move_to_the_front() {
        let mut rows = vec![0.0, 0.5, 1.0, 1.5, 2.0, 2.5];
        gather_rows(&mut rows, 2, &[0, 2]);
        assert_eq!(rows[..4], [0.0, 0.5, 2.0, 2.5]);
    }

    #[test]
    fn a_buffer_only_grows() {
        let mut buffer = Vec::new();
        assert_eq!(sized(&mut buffer, 4).len(), 4);
        assert_eq!(sized(&mut buffer, 2).len(), 2);
        assert_eq!(buffer.len(), 4);
    }
}
