//! A loaded checkpoint and what can be done with it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;

use candle_core::{Device, Tensor};

use crate::checkpoint::{Config, LanguageConfig, Weights, fingerprint};
use crate::device::{self, DeviceKind};
use crate::error::{ModelError, Result};
use crate::float::FloatType;
use crate::info::{ModelInfo, VisionInfo};
use crate::kv::KvCache;
use crate::layer_kv::LayerKv;
use crate::llama::Llama;
use crate::vision::{Eye, Picture, Rows, VisualTokens};

/// What of a checkpoint to load, and where to.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Where to compute.
    pub device: DeviceKind,
    /// Format of weights, activations and KV. `None`: f32 on a CPU, the checkpoint's own on a GPU.
    pub dtype: Option<FloatType>,
    /// Blocks that this stage leaves out.
    pub blocks_removed: BTreeSet<usize>,
    /// Whether to load the vision tower and the projector.
    pub vision: bool,
}

/// A loaded checkpoint: the blocks of one stage, and its eye if asked for.
///
/// It does not change after loading, so it is shared by reference; what belongs to one sequence is in [`KvCache`].
pub struct Model {
    info: ModelInfo,
    config: LanguageConfig,
    kept_layers: Vec<usize>,
    language: Llama,
    eye: Option<Eye>,
    device: Device,
}

/// A stretch of a prompt.
#[derive(Clone, Debug)]
pub enum Segment<'a> {
    /// Token ids.
    Text(&'a [u32]),
    /// Visual tokens that were kept, in order.
    Visual(VisualTokens),
}

impl Model {
    /// Loads the checkpoint in `dir`.
    pub fn load(dir: &Path, options: &LoadOptions) -> Result<Model, ModelError> {
        let config = Config::read(dir)?;
        let compute = device::compute_type(options.device, options.dtype, config.stored)?;
        let device = device::open(options.device)?;
        let weights = Weights::open(dir, device.clone(), compute)?;
        let language = Llama::load(&weights, &config.language, &options.blocks_removed, compute, &device)?;
        let eye = match &config.vision {
            Some(vision) if options.vision => {
                Some(Eye::load(dir, &weights, vision, config.language.hidden, compute, &device)?)
            }
            _ => None,
        };
        let info = describe(&config, compute, fingerprint(dir)?);
        tracing::info!(
            architecture = %info.architecture, fingerprint = %info.fingerprint, device = %options.device,
            dtype = %compute, layers = info.layers, kept = language.kept_layers().len(), vision = eye.is_some(),
            "loaded model"
        );
        let kept_layers = language.kept_layers();
        Ok(Model { info, config: config.language, kept_layers, language, eye, device })
    }

    /// What this checkpoint is.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Indices, in the checkpoint, of the blocks that this stage runs, ascending.
    pub fn kept_layers(&self) -> &[usize] {
        &self.kept_layers
    }

    /// Pixels to visual tokens: preprocess, tower, feature layer, projector. One entry per picture.
    pub fn see(&self, images: &[Picture]) -> Result<Vec<VisualTokens>, ModelError> {
        let eye = self.eye.as_ref().ok_or(ModelError::NoVision)?;
        // One after another: a single picture has rows enough to fill the processor.
        images.iter().map(|image| eye.see(image)).collect()
    }

    /// What the tower is shown of a picture: [3, side, side], normalised, as transformers' `pixel_values`.
    pub fn pixel_values(&self, image: &Picture) -> Result<Vec<f32>, ModelError> {
        Ok(self.eye.as_ref().ok_or(ModelError::NoVision)?.pixel_values(image))
    }

    /// Input embeddings of text tokens, [tokens, hidden].
    pub fn embed_rows(&self, tokens: &[u32]) -> Result<Rows, ModelError> {
        self.check_tokens(tokens)?;
        Rows::from_tensor(&self.language.embed(tokens)?)
    }

    /// Runs this stage's blocks over a whole prompt and returns the logits of its last position, one per token of
    /// the vocabulary.
    ///
    /// `on_layer` gets the KV of each kept block, in order, on this thread, as soon as it exists; `Break` stops
    /// everything with [`ModelError::Cancelled`].
    pub fn prefill(
        &self,
        input: &[Segment<'_>],
        on_layer: &mut dyn FnMut(LayerKv) -> ControlFlow<()>,
    ) -> Result<Vec<f32>, ModelError> {
        self.language.prefill(self.embed_prompt(input)?, on_layer)
    }

    /// An empty cache with room for `capacity` positions in each kept block.
    pub fn new_cache(&self, capacity: usize) -> Result<KvCache, ModelError> {
        self.check_length(capacity)?;
        KvCache::new(&self.config, self.kept_layers.clone(), capacity, self.info.dtype, &self.device)
    }

    /// Feeds one token at the cache's next position and returns its logits, one per token of the vocabulary.
    ///
    /// After an error the cache may be half written; drop it.
    pub fn decode_step(&self, cache: &mut KvCache, token: u32) -> Result<Vec<f32>, ModelError> {
        self.check_tokens(&[token])?;
        if !cache.fits(&self.config, &self.kept_layers, self.info.dtype) {
            return Err(ModelError::cache("it was made for another model or block set"));
        }
        self.language.decode_step(cache, token)
    }

    /// [tokens, hidden]
    fn embed_prompt(&self, input: &[Segment<'_>]) -> Result<Tensor> {
        let mut parts = Vec::with_capacity(input.len());
        for segment in input {
            match segment {
                Segment::Text([]) => {}
                Segment::Text(tokens) => {
                    self.check_tokens(tokens)?;
                    parts.push(self.language.embed(tokens)?);
                }
                Segment::Visual(tokens) if tokens.is_empty() => {}
                Segment::Visual(tokens) => parts.push(tokens.tensor().clone()),
            }
        }
        if parts.is_empty() {
            return Err(ModelError::EmptyPrompt);
        }
        let prompt = Tensor::cat(&parts, 0)?;
        self.check_length(prompt.dim(0)?)?;
        Ok(prompt)
    }

    fn check_tokens(&self, tokens: &[u32]) -> Result<()> {
        let vocab = self.info.vocab;
        match tokens.iter().find(|&&token| token as usize >= vocab) {
            Some(&token) => Err(ModelError::Token { token, vocab }),
            None => Ok(()),
        }
    }

    fn check_length(&self, tokens: usize) -> Result<()> {
        let limit = self.info.max_positions;
        if tokens > limit {
            return Err(ModelError::ContextTooLong { tokens, limit });
        }
        Ok(())
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
        vision: config.vision.as_ref().map(|vision| VisionInfo {
            image_token_id: vision.image_token_id,
            tokens_per_image: vision.tokens_per_image(),
            image_size: vision.image_size,
        }),
    }
}
