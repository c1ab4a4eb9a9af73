//! The image processor that encoding pictures needs.

use crate::error::{ModelError, Result};

/// The image processor, which a node that encodes pictures needs.
pub(crate) fn present<P: Clone>(processor: &Option<P>) -> Result<P> {
    processor
        .clone()
        .ok_or_else(|| ModelError::config("preprocessor_config.json", "there is none, nor in processor_config.json"))
}
