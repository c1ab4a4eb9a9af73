//! A loaded checkpoint and its operations.

use std::path::Path;
use std::sync::Mutex;

use secateur_kernels::{Beside, Cpu, KvGeometry};
use secateur_pruning::{PictureTokens, Rows as TokenRows, Selection, VisualPolicy, select};

use crate::checkpoint::{Config, VisionConfig, Weights, check_tensors, config_bytes, fingerprint};
use crate::device::{self, DeviceKind};
use crate::error::{ModelError, Result};
use crate::float::{FloatType, WeightFormat};
use crate::info::ModelInfo;
use crate::kv::{self, BLOCK_POSITIONS, KvPool};
use crate::language::{Feed, Language, Prompt, Segment, WithBeside, Workspace};
use crate::sampling::{Drawn, Sampler};
use crate::stage::Stage;
use crate::vision::{Picture, Rows, VisionEncoder, VisualTokens};

/// The parts of a checkpoint to load, and how to compute with them.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The device to compute on.
    pub device: DeviceKind,
    /// Format of weights and KV; `None` for the checkpoint's own.
    pub dtype: Option<FloatType>,
    /// Format in which the language model's matrices are kept in memory.
    pub weights: WeightFormat,
    /// Number of compute threads; `None` for one per core.
    pub threads: Option<usize>,
    /// Roles of the checkpoint's blocks in this stage.
    pub stage: Stage,
    /// Whether to load the vision tower and the projector.
    pub vision: bool,
}

/// A loaded checkpoint: the blocks of one stage, and its vision tower if requested.
///
/// It is immutable after loading, so it is shared by reference; the state of one sequence is in its
/// [`crate::BlockTable`], and the buffers of one pass are in a [`Workspace`].
pub struct Model {
    info: ModelInfo,
    kv_layers: Vec<usize>,
    language: Language,
    encoder: Option<VisionEncoder>,
    cpu: Cpu,
    /// Whether rows have a position on each of three axes.
    multi_axis: bool,
}

impl Model {
    /// Loads the checkpoint in `dir`.
    pub fn load(dir: &Path, options: &LoadOptions) -> Result<Model, ModelError> {
        device::check(options.device)?;
        let json = config_bytes(dir)?;
        let config = Config::of(dir, &json)?;
        let compute = device::compute_type(options.dtype, config.stored);
        let cpu = Cpu::new(options.threads.unwrap_or_else(all_cores).max(1));
        let weights = Weights::open(dir, cpu.clone(), compute, options.weights)?;
        check_tensors(dir, &config, &weights)?;
        let repairs = options.stage.repairs().map(|repairs| weights.beside(repairs)).transpose()?;
        let language = Language::load(&weights, &config.language, &options.stage, repairs.as_ref())?;
        let encoder = match &config.vision {
            Some(vision) if options.vision => Some(VisionEncoder::load(&weights, vision, config.language.hidden)?),
            _ => None,
        };
        let info = describe(&config, compute, weights.fingerprint(dir, &json)?);
        tracing::info!(
            architecture = %info.architecture, fingerprint = %info.fingerprint, device = %options.device,
            dtype = %compute, weights = options.weights.name(), instructions = %cpu.isa(), threads = cpu.threads(),
            layers = info.layers, with_kv = language.kv_layers().len(), vision = encoder.is_some(),
            "loaded model"
        );
        let (kv_layers, multi_axis) = (language.kv_layers(), config.language.rope.sections.is_some());
        Ok(Model { info, kv_layers, language, encoder, cpu, multi_axis })
    }

    /// Facts about this checkpoint.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Indices, in the checkpoint, of the blocks that have KV in this stage, ascending.
    pub fn kv_layers(&self) -> &[usize] {
        &self.kv_layers
    }

    /// Those of [`Model::kv_layers`] in which a row sees only a window of the last positions.
    pub fn windowed_layers(&self) -> impl Iterator<Item = usize> + '_ {
        let windows = self.kv_layers.iter().zip(self.language.windows());
        windows.filter(|(_, window)| window.is_some()).map(|(&layer, _)| layer)
    }

    /// The threads and instruction set that the model computes with; other work may use them between passes.
    pub fn cpu(&self) -> &Cpu {
        &self.cpu
    }

    /// Bytes of weights that a decode step reads, whatever its batch size.
    pub fn weight_bytes_per_step(&self) -> usize {
        self.language.bytes_per_step()
    }

    /// Allocates KV memory: as many whole blocks as fit in `bytes`.
    pub fn kv_pool(&self, bytes: u64) -> Result<KvPool, ModelError> {
        let block = kv::block_bytes(&self.geometry(), self.kv_layers.len());
        let blocks = bytes / block as u64;
        if blocks == 0 {
            return Err(ModelError::cache(format!(
                "{bytes} bytes hold no block of {block} bytes; give KV more memory"
            )));
        }
        self.kv_pool_of(usize::try_from(blocks).unwrap_or(usize::MAX))
    }

    /// Allocates KV memory of `blocks` blocks.
    pub(crate) fn kv_pool_of(&self, blocks: usize) -> Result<KvPool> {
        KvPool::new(self.geometry(), self.kv_layers.len(), blocks)
    }

    /// Computes the visual tokens of pictures: preprocess, tower, feature layer, projector. One entry per picture.
    pub fn see(&self, pictures: &[Picture]) -> Result<Vec<VisualTokens>, ModelError> {
        self.encoder()?.see(pictures)
    }

    /// The tower's input for a picture, laid out as transformers' `pixel_values`.
    pub fn pixel_values(&self, picture: &Picture) -> Result<Vec<f32>, ModelError> {
        self.encoder()?.pixel_values(picture)
    }

    /// Input embeddings of text tokens, [tokens, hidden].
    pub fn embed_rows(&self, tokens: &[u32]) -> Result<Rows, ModelError> {
        let (vocab, width) = (self.info.vocab, self.info.hidden);
        let mut data = vec![0.0; tokens.len() * width];
        for (&token, row) in tokens.iter().zip(data.chunks_exact_mut(width)) {
            if token as usize >= vocab {
                return Err(ModelError::Token { token, vocab });
            }
            self.language.embed(token, row);
        }
        Ok(Rows { data, width })
    }

    /// Indices of the visual tokens that a policy keeps of each picture, given the user's words.
    pub fn choose<'a>(
        &self,
        policy: VisualPolicy,
        pictures: impl IntoIterator<Item = &'a VisualTokens>,
        user_tokens: &[u32],
    ) -> Result<Selection, ModelError> {
        let unfit = |problem: String| ModelError::config("text_config.hidden_size", problem);
        let text = self.embed_rows(user_tokens)?;
        let text = TokenRows::new(&text.data, text.width).map_err(|error| unfit(error.to_string()))?;
        let picture = |tokens: &'a VisualTokens| {
            let rows = TokenRows::new(tokens.data(), tokens.width()).map_err(|error| unfit(error.to_string()))?;
            PictureTokens::tiled(rows, tokens.tiles().to_vec()).map_err(|error| unfit(error.to_string()))
        };
        let pictures = pictures.into_iter().map(picture).collect::<Result<Vec<_>>>()?;
        select(policy, &pictures, text).map_err(|error| unfit(error.to_string()))
    }

    /// Concatenates the segments of a prompt and gives each row its position.
    pub fn prompt(&self, segments: &[Segment<'_>]) -> Result<Prompt, ModelError> {
        let prompt = Prompt::new(segments, self.info.vocab, self.multi_axis)?;
        let limit = self.info.max_positions;
        if prompt.len() > limit {
            return Err(ModelError::ContextTooLong { tokens: prompt.len(), limit });
        }
        Ok(prompt)
    }

    /// Runs a batch: some rows of each of several sequences, see [`Feed`].
    ///
    /// `on_layer` is called on this thread as soon as a block's KV of every row is stored, with the block's place among
    /// those with KV, in order. Logits of the wanted rows are left in the workspace. After an error, the content of
    /// tables beyond their length is undefined, and their length is unchanged.
    pub fn forward(
        &self,
        pool: &KvPool,
        feeds: &mut [Feed<'_>],
        space: &mut Workspace,
        mut on_layer: &mut dyn FnMut(usize),
    ) -> Result<(), ModelError> {
        self.language.forward(pool, feeds, space, &mut on_layer)
    }

    /// [`Model::forward`] where `samplers` will draw from the logits: what they can work out before those are there, the
    /// model's threads do beside the head's product, the longest single piece of a step.
    pub fn forward_for<'a>(
        &self,
        pool: &KvPool,
        feeds: &mut [Feed<'_>],
        space: &mut Workspace,
        samplers: impl Iterator<Item = &'a mut Sampler>,
    ) -> Result<(), ModelError> {
        // Each sampler is taken by one thread, so its lock is never contended.
        let waiting: Vec<_> = samplers.filter(|sampler| sampler.has_to_prepare()).map(Mutex::new).collect();
        let work = |at: usize| {
            if let Ok(mut sampler) = waiting[at].lock() {
                sampler.prepare();
            }
        };
        let mut hooks = WithBeside(Beside { calls: waiting.len(), work: &work });
        self.language.forward(pool, feeds, space, &mut hooks)
    }

    /// Draws the next token of each wanted row of the last pass, in order, in parallel on the model's threads. If no
    /// token can be drawn from a row, only that row fails.
    pub fn draw<'a>(
        &self,
        space: &mut Workspace,
        samplers: impl Iterator<Item = (&'a mut Sampler, &'a mut Option<Result<Drawn>>)>,
    ) {
        let rows = space.logits().chunks_exact_mut(self.info.vocab);
        // Each piece is taken by one thread, so its lock is never contended.
        let pieces: Vec<_> = samplers.zip(rows).map(Mutex::new).collect();
        self.cpu.run(pieces.len(), &|piece| {
            if let Ok(mut piece) = pieces[piece].lock() {
                let ((sampler, drawn), logits) = &mut *piece;
                **drawn = Some(sampler.draw(logits));
            }
        });
    }

    pub(crate) fn language(&self) -> &Language {
        &self.language
    }

    fn encoder(&self) -> Result<&VisionEncoder> {
        self.encoder.as_ref().ok_or(ModelError::NoVision)
    }

    fn geometry(&self) -> KvGeometry {
        KvGeometry {
            format: self.info.dtype.kernel(),
            kv_heads: self.info.kv_heads,
            head_dim: self.info.head_dim,
            block_tokens: BLOCK_POSITIONS,
        }
    }
}

fn all_cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

impl ModelInfo {
    /// The facts about the checkpoint in `dir`, without loading it. `dtype` as in [`LoadOptions`].
    pub fn read(dir: &Path, dtype: Option<FloatType>) -> Result<ModelInfo, ModelError> {
        let config = Config::read(dir)?;
        let compute = device::compute_type(dtype, config.stored);
        Ok(describe(&config, compute, fingerprint(dir)?))
    }
}

fn describe(config: &Config, compute: FloatType, fingerprint: String) -> ModelInfo {
    let language = &config.language;
    ModelInfo {
        layers: language.layers,
        hidden: language.hidden,
        heads: language.heads,
        kv_heads: language.kv_heads,
        head_dim: language.head_dim,
        vocab: language.vocab,
        max_positions: language.max_positions,
        dtype: compute,
        fingerprint,
        architecture: config.architecture.clone(),
        eos_token_ids: config.eos_token_ids.clone(),
        vision: config.vision.as_ref().map(VisionConfig::info),
    }
}
