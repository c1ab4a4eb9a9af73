"""CLIP's normalisation, for pictures that already have the right size."""

import numpy as np
import torch

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


def normalise(pictures):
    """uint8 [count, side, side, 3] -> float32 [count, 3, side, side]."""
    x = (pictures.astype(np.float32) / 255 - MEAN) / STD
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
