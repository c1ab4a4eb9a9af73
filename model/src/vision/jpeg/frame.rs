//! A picture in the making: its components and their coefficients.

/// Coefficients of 8 x 8 samples, row by row.
pub(crate) type Block = [i16; 64];

/// What the frame header says, and what the scans have brought so far.
pub(crate) struct Frame {
    pub width: usize,
    pub height: usize,
    pub progressive: bool,
    pub components: Vec<Component>,
    /// Whether the three components are red, green and blue as they are.
    pub is_rgb: bool,
    /// The largest sampling factors, across and down.
    pub sampling: (usize, usize),
}

/// One colour component.
pub(crate) struct Component {
    pub id: u8,
    /// Sampling factors, across and down.
    pub sampling: (usize, usize),
    /// Which quantization table it will have ...
    pub table: usize,
    /// ... and that table, from its first scan on.
    pub quantization: Option<[u16; 64]>,
    /// Columns and rows of samples.
    pub samples: (usize, usize),
    /// Columns and rows of blocks that have samples of the picture ...
    pub blocks: (usize, usize),
    /// ... and of those that are stored, where scans have several components.
    pub stored: (usize, usize),
    /// `stored` blocks, row by row.
    pub coefficients: Vec<Block>,
    /// How many low bits each coefficient, in zigzag order, still lacks; `None`: all.
    pub missing: [Option<u8>; 64],
}

impl Frame {
    /// From the frame header behind its length.
    pub fn read(header: &[u8], progressive: bool, memory_bytes: u64) -> Option<Frame> {
        let [8, h1, h0, w1, w0, count, rest @ ..] = header else { return None };
        let (height, width) =
            (usize::from(u16::from_be_bytes([*h1, *h0])), usize::from(u16::from_be_bytes([*w1, *w0])));
        if height == 0 || width == 0 || ![1, 3].contains(count) || rest.len() != usize::from(*count) * 3 {
            return None;
        }
        let factors = |typed: &[u8]| (usize::from(typed[1] >> 4), usize::from(typed[1] & 15));
        let sampling = rest.chunks_exact(3).map(factors).reduce(|a, b| (a.0.max(b.0), a.1.max(b.1)))?;
        let mut frame = Frame { width, height, progressive, components: Vec::new(), is_rgb: false, sampling };
        for typed in rest.chunks_exact(3) {
            frame.components.push(frame.component(typed[0], factors(typed), usize::from(typed[2]))?);
        }
        let stored = |component: &Component| (component.stored.0 * component.stored.1 * 64) as u64;
        // Coefficients of two bytes, samples of one, and the picture itself.
        let memory = frame.components.iter().map(stored).sum::<u64>() * 3 + (width * height * 3) as u64;
        if memory > memory_bytes {
            return None;
        }
        for component in &mut frame.components {
            component.coefficients = vec![[0; 64]; component.stored.0 * component.stored.1];
        }
        Some(frame)
    }

    /// Columns and rows of the units in which components take turns.
    pub fn units(&self) -> (usize, usize) {
        (self.width.div_ceil(8 * self.sampling.0), self.height.div_ceil(8 * self.sampling.1))
    }

    fn component(&self, id: u8, sampling: (usize, usize), table: usize) -> Option<Component> {
        let most = self.sampling;
        let whole = |most: usize, own: usize| (1..=4).contains(&own) && most.is_multiple_of(own);
        if !whole(most.0, sampling.0) || !whole(most.1, sampling.1) || table > 3 {
            return None;
        }
        let units = self.units();
        let samples = ((self.width * sampling.0).div_ceil(most.0), (self.height * sampling.1).div_ceil(most.1));
        Some(Component {
            id,
            sampling,
            table,
            quantization: None,
            samples,
            blocks: (samples.0.div_ceil(8), samples.1.div_ceil(8)),
            stored: (units.0 * sampling.0, units.1 * sampling.1),
            coefficients: Vec::new(),
            missing: [None; 64],
        })
    }

    /// Whether every coefficient came in full. libjpeg smooths what did not, which is not done here.
    pub fn is_complete(&self) -> bool {
        self.components.iter().all(|component| component.missing.iter().all(|bits| *bits == Some(0)))
    }
}
