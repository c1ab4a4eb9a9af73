//! The vision part of a LLaVA's configuration, validated.

use serde_json::Value;

use crate::checkpoint::as_typed::{TopLevel, Vision};
use crate::checkpoint::vision::steps::ClipProcessor;
use crate::error::{ModelError, Result};
use crate::vision::Activation;

/// A CLIP tower's shape, and how the language model uses its features.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClipConfig {
    pub hidden: usize,
    pub intermediate: usize,
    /// Layers of the tower as it was trained.
    pub layers: usize,
    /// Layers of the tower that have to run: those up to `vision_feature_layer`.
    pub layers_run: usize,
    pub heads: usize,
    pub image_size: usize,
    pub patch_size: usize,
    pub activation: Activation,
    pub norm_epsilon: f64,
    pub select: FeatureSelect,
    pub projector_activation: Activation,
    pub projector_bias: bool,
    /// LLaVA-NeXT: heights and widths, in pixels, that a picture may be resized to before it is cut into tiles.
    pub pinpoints: Option<Vec<(usize, usize)>>,
    /// The image processor's configuration; `None` if the folder has none.
    pub processor: Option<ClipProcessor>,
}

/// Which rows of the chosen layer become visual tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FeatureSelect {
    /// Patches without the class token.
    Default,
    /// The class token, then the patches.
    Full,
}

/// Tower of transformers' `LlavaConfig` where `vision_config` is missing altogether.
const TOWER_OF_LLAVA: Defaults =
    Defaults { hidden: 1024, intermediate: 4096, layers: 24, heads: 16, image: 336, patch: 14 };
/// Defaults of `CLIPVisionConfig`, for keys missing inside a `vision_config` that is there.
const TOWER_OF_CLIP: Defaults =
    Defaults { hidden: 768, intermediate: 3072, layers: 12, heads: 12, image: 224, patch: 32 };

struct Defaults {
    hidden: usize,
    intermediate: usize,
    layers: usize,
    heads: usize,
    image: usize,
    patch: usize,
}

impl ClipConfig {
    /// Checks what was typed; `tiles` says whether the model is a LLaVA-NeXT.
    pub fn validate(typed: &TopLevel, tiles: bool) -> Result<ClipConfig> {
        let absent = Vision::default();
        let (tower, defaults) = match &typed.vision_config {
            Some(tower) => (tower, TOWER_OF_CLIP),
            None => (&absent, TOWER_OF_LLAVA),
        };
        refuse_unsupported(tower)?;
        let layers = tower.num_hidden_layers.unwrap_or(defaults.layers);
        let projector_activation = typed.projector_hidden_act.as_deref().unwrap_or("gelu");
        let tower_activation = tower.hidden_act.as_deref().unwrap_or("quick_gelu");
        let image_size = side(tower.image_size.as_ref(), defaults.image, "vision_config.image_size")?;
        let config = ClipConfig {
            hidden: tower.hidden_size.unwrap_or(defaults.hidden),
            intermediate: tower.intermediate_size.unwrap_or(defaults.intermediate),
            layers,
            layers_run: layers_run(typed.vision_feature_layer.as_ref(), layers)?,
            heads: tower.num_attention_heads.unwrap_or(defaults.heads),
            image_size,
            patch_size: side(tower.patch_size.as_ref(), defaults.patch, "vision_config.patch_size")?,
            activation: Activation::from_name(tower_activation, "vision_config.hidden_act")?,
            norm_epsilon: tower.layer_norm_eps.unwrap_or(1e-5),
            select: select(typed.vision_feature_select_strategy.as_deref())?,
            projector_activation: Activation::from_name(projector_activation, "projector_hidden_act")?,
            projector_bias: typed.multimodal_projector_bias.unwrap_or(true),
            pinpoints: tiles.then(|| pinpoints(typed.image_grid_pinpoints.as_ref(), image_size)).transpose()?,
            processor: None,
        };
        config.check_shape()?;
        Ok(config)
    }

    /// Patches along one side of the picture.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Number of the tower's feature rows of one tile that are used.
    pub fn tokens_per_tile(&self) -> usize {
        let patches = self.grid() * self.grid();
        match self.select {
            FeatureSelect::Default => patches,
            FeatureSelect::Full => patches + 1,
        }
    }

    /// Most visual tokens that a picture can have.
    pub fn tokens_per_image(&self) -> usize {
        let of_grid = |(height, width): &(usize, usize)| {
            let patches = |side: usize| side / self.image_size * self.grid();
            // Each row of the tiles' patches ends with a token of its own.
            patches(*height) * (patches(*width) + 1)
        };
        let of_tiles = self.pinpoints.iter().flatten().map(of_grid).max();
        self.tokens_per_tile() + of_tiles.unwrap_or(0)
    }

    fn check_shape(&self) -> Result<()> {
        if self.heads == 0 || !self.hidden.is_multiple_of(self.heads) {
            let problem = format!("{} heads do not divide width {}", self.heads, self.hidden);
            return Err(ModelError::config("vision_config.num_attention_heads", problem));
        }
        if self.patch_size == 0 || !self.image_size.is_multiple_of(self.patch_size) {
            let problem = format!("{} does not divide {} pixels", self.patch_size, self.image_size);
            return Err(ModelError::config("vision_config.patch_size", problem));
        }
        if self.pinpoints.is_some() && self.select == FeatureSelect::Full {
            let problem = "`full` is not supported with tiles: class tokens have no place in the grid";
            return Err(ModelError::config("vision_feature_select_strategy", problem));
        }
        Ok(())
    }
}

/// Defaults of transformers' `LlavaNextConfig` and of its image processor.
const PINPOINTS: [(usize, usize); 5] = [(336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008)];

/// `image_grid_pinpoints`, the model's or the image processor's: heights and widths that are whole tiles.
pub(crate) fn pinpoints(typed: Option<&Value>, tile: usize) -> Result<Vec<(usize, usize)>> {
    let field = "image_grid_pinpoints";
    let found: Vec<(usize, usize)> = match typed {
        None | Some(Value::Null) => PINPOINTS.to_vec(),
        Some(value) => serde_json::from_value(value.clone())
            .map_err(|_| ModelError::config(field, format!("`{value}` is not a list of heights and widths")))?,
    };
    let whole = |side: usize| side > 0 && tile > 0 && side.is_multiple_of(tile);
    if found.is_empty() || !found.iter().all(|(height, width)| whole(*height) && whole(*width)) {
        return Err(ModelError::config(field, format!("{found:?} are not whole tiles of {tile} pixels")));
    }
    Ok(found)
}

fn refuse_unsupported(tower: &Vision) -> Result<()> {
    let kind = tower.model_type.as_deref().unwrap_or("clip_vision_model");
    if kind != "clip_vision_model" {
        let problem = format!("vision tower `{kind}` is not supported, only `clip_vision_model`");
        return Err(ModelError::config("vision_config.model_type", problem));
    }
    let channels = tower.num_channels.unwrap_or(3);
    if channels != 3 {
        let problem = format!("{channels} colour channels are not supported, only 3");
        return Err(ModelError::config("vision_config.num_channels", problem));
    }
    Ok(())
}

/// The number of layers to run. `vision_feature_layer` indexes the list of hidden states, whose entry 0 is the input of
/// the first layer. So entry `i` is the output of `i` layers, and a negative index counts from the end of `layers + 1`
/// entries.
fn layers_run(typed: Option<&Value>, layers: usize) -> Result<usize> {
    let field = "vision_feature_layer";
    let index = match typed {
        None | Some(Value::Null) => -2,
        Some(value) => value
            .as_i64()
            .ok_or_else(|| ModelError::config(field, format!("`{value}` is not supported, only one whole number")))?,
    };
    let entries = layers as i64 + 1;
    let from_start = if index < 0 { entries + index } else { index };
    if from_start < 0 || from_start >= entries {
        let problem = format!("{index} is outside the {entries} hidden states of the tower");
        return Err(ModelError::config(field, problem));
    }
    Ok(from_start as usize)
}

fn side(typed: Option<&Value>, default: usize, field: &str) -> Result<usize> {
    match typed {
        None | Some(Value::Null) => Ok(default),
        Some(value) => value
            .as_u64()
            .map(|pixels| pixels as usize)
            .ok_or_else(|| ModelError::config(field, format!("`{value}` is not supported, only one whole number"))),
    }
}

fn select(typed: Option<&str>) -> Result<FeatureSelect> {
    match typed.unwrap_or("default") {
        "default" => Ok(FeatureSelect::Default),
        "full" => Ok(FeatureSelect::Full),
        other => {
            let problem = format!("`{other}` is not supported, only `default` and `full`");
            Err(ModelError::config("vision_feature_select_strategy", problem))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validate(json: &str) -> Result<ClipConfig> {
        ClipConfig::validate(&serde_json::from_str(json).unwrap(), false)
    }

    fn refused_field(json: &str) -> String {
        match validate(json) {
            Err(ModelError::Config { field, .. }) => field,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    #[test]
    fn nothing_typed_is_the_tower_of_llava_1_5() {
        let config = validate("{}").unwrap();
        assert_eq!((config.hidden, config.layers_run, config.heads), (1024, 23, 16));
        assert_eq!((config.grid(), config.tokens_per_image()), (24, 576));
        assert_eq!(config.activation, Activation::QuickGelu);
        assert_eq!(config.projector_activation, Activation::Gelu);
    }

    #[test]
    fn the_feature_layer_counts_hidden_states() {
        let run = |layer: i64| layers_run(Some(&Value::from(layer)), 24).ok();
        assert_eq!([run(-2), run(-1), run(0), run(24), run(-25)], [Some(23), Some(24), Some(0), Some(24), Some(0)]);
        assert_eq!([run(25), run(-26)], [None, None]);
    }

    #[test]
    fn the_full_strategy_keeps_the_class_token() {
        let config = validate(r#"{"vision_feature_select_strategy": "full"}"#).unwrap();
        assert_eq!(config.tokens_per_image(), 577);
    }

    #[test]
    fn tiles_are_counted_at_their_largest() {
        let next = |json: &str| ClipConfig::validate(&serde_json::from_str(json).unwrap(), true);
        // 24 x 24 patches of the whole picture, and two by two tiles of as many with one token after each line.
        assert_eq!(next("{}").unwrap().tokens_per_image(), 576 + 48 * 49);
        let refusals = [
            (r#"{"image_grid_pinpoints": [[336, 700]]}"#, "image_grid_pinpoints"),
            (r#"{"image_grid_pinpoints": []}"#, "image_grid_pinpoints"),
            (r#"{"image_grid_pinpoints": [336]}"#, "image_grid_pinpoints"),
            (r#"{"vision_feature_select_strategy": "full"}"#, "vision_feature_select_strategy"),
        ];
        for (json, expected) in refusals {
            match next(json) {
                Err(ModelError::Config { field, .. }) => assert_eq!(field, expected, "{json}"),
                other => panic!("{json}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_not_implemented_is_refused_by_name() {
        let cases = [
            (r#"{"vision_feature_layer": [-2, -5]}"#, "vision_feature_layer"),
            (r#"{"vision_feature_select_strategy": "cls"}"#, "vision_feature_select_strategy"),
            (r#"{"projector_hidden_act": "mish"}"#, "projector_hidden_act"),
            (r#"{"vision_config": {"model_type": "siglip_vision_model"}}"#, "vision_config.model_type"),
            (r#"{"vision_config": {"num_channels": 1}}"#, "vision_config.num_channels"),
            (r#"{"vision_config": {"image_size": [224, 224]}}"#, "vision_config.image_size"),
            (r#"{"vision_config": {"image_size": 225}}"#, "vision_config.patch_size"),
            (r#"{"vision_config": {"hidden_act": "mish"}}"#, "vision_config.hidden_act"),
        ];
        for (json, field) in cases {
            assert_eq!(refused_field(json), field, "{json}");
        }
    }
}
