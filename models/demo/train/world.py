"""The picture world: scenes on a 3 x 3 grid, and how they are drawn.

A scene is an int8 array [9, 3]: for each cell, in reading order, (shape, colour, size), or -1 where nothing is.
One object a cell keeps every place unambiguous. Drawing is vectorised over a whole batch of objects, because the
trainer shares one core with it.
"""

import numpy as np

SIDE = 96  # pixels of a picture's edge
CELL = 32  # pixels of a grid cell's edge

SHAPES = ["circle", "square", "triangle", "diamond", "cross", "star"]
COLOURS = ["red", "orange", "yellow", "green", "blue", "purple", "white", "black"]
SIZES = ["small", "large"]
PLACES = [
    "top left", "top middle", "top right",
    "middle left", "centre", "middle right",
    "bottom left", "bottom middle", "bottom right",
]

RGB = np.array(
    [
        (210, 40, 40), (242, 140, 20), (240, 226, 50), (50, 165, 60),
        (45, 85, 215), (140, 50, 170), (246, 246, 246), (18, 18, 18),
    ],
    np.float32,
)


def random_scenes(rng, count, most=5):
    """`count` scenes of 1 to `most` objects: [count, 9, 3] int8.

    Half of them draw from three colours and three shapes only, so that counting has something to count.
    """
    scenes = np.full((count, 9, 3), -1, np.int8)
    for scene in scenes:
        cells = rng.permutation(9)[: rng.integers(1, most + 1)]
        n = len(cells)
        if rng.random() < 0.5:
            shapes = rng.permutation(6)[:3][rng.integers(0, 3, n)]
            colours = rng.permutation(8)[:3][rng.integers(0, 3, n)]
        else:
            shapes, colours = rng.integers(0, 6, n), rng.integers(0, 8, n)
        scene[cells, 0], scene[cells, 1], scene[cells, 2] = shapes, colours, rng.integers(0, 2, n)
    return scenes


def _inside(shape, x, y, r):
    """Signed distance-like value (pixels, positive inside) of `shape` at offsets x, y with radius r."""
    ax, ay = np.abs(x), np.abs(y)
    if shape == "circle":
        return r - np.hypot(x, y)
    if shape == "square":
        return 0.86 * r - np.maximum(ax, ay)
    if shape == "triangle":
        return np.minimum(0.72 * r - y, (y + r - 1.9 * ax) / 2.15)
    if shape == "diamond":
        return (1.12 * r - ax - ay) / 1.414
    if shape == "cross":
        arm = 0.32 * r
        bars = np.minimum(np.maximum(ax, ay), np.inf)
        return np.minimum(r - bars, arm - np.minimum(ax, ay))
    turn = (np.arctan2(x, -y) * 5 / (2 * np.pi)) % 1.0  # star: five points, the first straight up
    tip = np.abs(turn - 0.5) * 2
    return (r * 1.1 * (0.42 + 0.58 * tip**1.6) - np.hypot(x, y)) * 0.8


def _backgrounds(rng, count, side):
    """Textured, weakly coloured grounds between dark and light grey: [count, side, side, 3] float32."""
    grey = rng.uniform(85, 165, (count, 1, 1, 1))
    tint = rng.uniform(-18, 18, (count, 1, 1, 3))
    yy, xx = np.mgrid[0:side, 0:side].astype(np.float32) / side * SIDE
    angle = rng.uniform(0, np.pi, (count, 1, 1))
    wave = rng.uniform(0.25, 1.1, (count, 1, 1))
    angle, wave = angle.astype(np.float32), wave.astype(np.float32)
    along = np.cos(angle) * xx + np.sin(angle) * yy
    across = np.cos(angle) * yy - np.sin(angle) * xx
    stripes = np.sin(along * wave)
    checks = np.sign(stripes * np.sin(across * wave))
    slope = (along / SIDE - 0.5) * 2
    kind = rng.integers(0, 3, (count, 1, 1))
    texture = np.where(kind == 0, stripes, np.where(kind == 1, checks, slope))
    texture = texture * rng.uniform(3, 16, (count, 1, 1)).astype(np.float32)
    return (grey + tint + texture[..., None]).astype(np.float32)


def draw(rng, scenes, side=SIDE):
    """Pictures of `scenes`: [count, side, side, 3] uint8. `side` is a multiple of three."""
    count, cell = len(scenes), side // 3
    scale = cell / CELL
    pictures = _backgrounds(rng, count, side)
    which, where = np.nonzero(scenes[:, :, 0] >= 0)
    objects = scenes[which, where]
    n = len(objects)
    radius = np.where(objects[:, 2] == 0, rng.uniform(5.8, 7.2, n), rng.uniform(11.0, 14.0, n))
    slack = CELL / 2 - radius * 1.1 - 0.5
    cx = CELL / 2 + rng.uniform(-1, 1, n) * slack
    cy = CELL / 2 + rng.uniform(-1, 1, n) * slack
    turn = rng.uniform(-0.14, 0.14, n)
    grid = (np.arange(cell, dtype=np.float32) + 0.5) / scale
    x = grid[None, None, :] - cx[:, None, None]
    y = grid[None, :, None] - cy[:, None, None]
    cos, sin = np.cos(turn)[:, None, None], np.sin(turn)[:, None, None]
    x, y = x * cos + y * sin, y * cos - x * sin
    cover = np.empty((n, cell, cell), np.float32)
    for s, name in enumerate(SHAPES):
        m = objects[:, 0] == s
        cover[m] = _inside(name, x[m], y[m], radius[m][:, None, None])
    alpha = np.clip(cover * scale + 0.5, 0, 1)[..., None]
    colour = RGB[objects[:, 1]] * rng.uniform(0.92, 1.0, (n, 1)) + rng.uniform(-8, 8, (n, 3))
    tiles = pictures.reshape(count, 3, cell, 3, cell, 3).transpose(0, 1, 3, 2, 4, 5)  # a view: [b, row, col, y, x, rgb]
    row, col = where // 3, where % 3
    tiles[which, row, col] = tiles[which, row, col] * (1 - alpha) + colour[:, None, None, :] * alpha
    pictures += 5 * rng.standard_normal(pictures.shape, np.float32)
    return np.clip(np.rint(pictures), 0, 255).astype(np.uint8)


def phrase(cell):
    """"small red circle" of one occupied cell."""
    shape, colour, size = (int(v) for v in cell)
    return f"{SIZES[size]} {COLOURS[colour]} {SHAPES[shape]}"
