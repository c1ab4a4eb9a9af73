//! From pictures to visual tokens with a CLIP tower.

use secateur_pruning::{PictureView, VisualMethod};

use crate::checkpoint::{ClipConfig, ClipProcessor, Weights};
use crate::error::{ModelError, Result};
use crate::vision::llava::anyres::Anyres;
use crate::vision::llava::clip::Clip;
use crate::vision::llava::projector::Projector;
use crate::vision::picture::Picture;
use crate::vision::processor::present;
use crate::vision::tokens::VisualTokens;

/// Tiles processed in one pass of the tower: enough rows for full speed; more would only take more memory.
const TILES_AT_ONCE: usize = 8;

/// The vision side of a LLaVA or LLaVA-NeXT.
#[derive(Clone, Debug)]
pub(crate) struct LlavaEncoder {
    processor: ClipProcessor,
    tower: Clip,
    projector: Projector,
    /// Tiling parameters; LLaVA-NeXT only.
    anyres: Option<Anyres>,
    /// Width of a visual token.
    width: usize,
}

impl LlavaEncoder {
    /// Loads the vision side for a language model of width `hidden`.
    pub fn load(weights: &Weights, config: &ClipConfig, hidden: usize) -> Result<LlavaEncoder> {
        let processor = present(&config.processor)?;
        let anyres = |pinpoints: &Vec<(usize, usize)>| -> Result<Anyres> {
            let newline = weights.tensor("image_newline", &[hidden])?.to_vec1()?;
            Ok(Anyres { pinpoints: pinpoints.clone(), side: config.image_size, grid: config.grid(), newline })
        };
        Ok(LlavaEncoder {
            processor,
            tower: Clip::load(weights, config)?,
            projector: Projector::load(weights, config, hidden)?,
            anyres: config.pinpoints.as_ref().map(anyres).transpose()?,
            width: hidden,
        })
    }

    /// The tower's input, [tiles, 3, side, side]; LLaVA has one tile.
    pub fn pixel_values(&self, picture: &Picture) -> Vec<f32> {
        self.tiles(picture).concat()
    }

    /// The visual tokens of each picture.
    pub fn see(&self, pictures: &[Picture]) -> Result<Vec<VisualTokens>> {
        if pictures.iter().all(|picture| picture.view() == PictureView::Whole) {
            return self.see_whole(pictures);
        }
        let one = |picture: &Picture| match picture.view() {
            PictureView::Smaller(share) => self.see_smaller(picture, share),
            PictureView::Distinct => Err(ModelError::View {
                method: VisualMethod::Distinct,
                problem: "it needs a tower that takes pictures of any size; this one has a fixed grid of patches",
            }),
            PictureView::Whole => Ok(self.see_whole(std::slice::from_ref(picture))?.remove(0)),
        };
        pictures.iter().map(one).collect()
    }

    /// The tokens of a picture that is scaled down for the tower, with interpolated position embeddings.
    fn see_smaller(&self, picture: &Picture, share: f64) -> Result<VisualTokens> {
        if self.anyres.is_some() {
            return Err(ModelError::View {
                method: VisualMethod::Downsample,
                problem: "this checkpoint cuts pictures into tiles of one size",
            });
        }
        let whole = self.tower.grid();
        let grid = ((whole as f64 * share.sqrt()).round() as usize).clamp(1, whole);
        let tile = self.processor.smaller(self.tower.side(whole), self.tower.side(grid)).apply(picture);
        let features = self.projector.forward(&self.tower.forward(&[tile], grid)?)?.flatten_all()?.to_vec1::<f32>()?;
        let tokens = features.len() / self.width;
        let tiles = std::iter::once(0..tokens).collect();
        Ok(VisualTokens::in_line(features, self.width, tiles).out_of(self.tower.tokens()))
    }

    fn see_whole(&self, pictures: &[Picture]) -> Result<Vec<VisualTokens>> {
        let mut tiles = pictures.iter().flat_map(|picture| self.tiles(picture));
        let mut features: Vec<f32> = Vec::new(); // [tiles of all pictures, tokens of a tile, width]
        loop {
            let shown: Vec<Vec<f32>> = tiles.by_ref().take(TILES_AT_ONCE).collect();
            if shown.is_empty() {
                break;
            }
            let seen = self.projector.forward(&self.tower.forward(&shown, self.tower.grid())?)?;
            features.extend(seen.flatten_all()?.to_vec1::<f32>()?);
        }
        let mut rest = features.as_slice();
        let visual = pictures.iter().map(|picture| {
            let size = (picture.height(), picture.width());
            let tiles = 1 + self.anyres.as_ref().map_or(0, |anyres| anyres.tiles(size));
            let (own, others) = rest.split_at(tiles * self.tower.tokens() * self.width);
            rest = others;
            match &self.anyres {
                Some(anyres) => anyres.pack(own, size),
                None => {
                    let whole = std::iter::once(0..self.tower.tokens());
                    VisualTokens::in_line(own.to_vec(), self.width, whole.collect())
                }
            }
        });
        Ok(visual.collect())
    }

    /// The tower's input for the whole picture and then for its tiles, each [3, side, side].
    fn tiles(&self, picture: &Picture) -> Vec<Vec<f32>> {
        let mut tiles = vec![self.processor.apply(picture)];
        if let Some(anyres) = &self.anyres {
            tiles.extend(anyres.cut(&self.processor, picture));
        }
        tiles
    }
}
