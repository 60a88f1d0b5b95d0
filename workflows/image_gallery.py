"""Segment a photo by its pixels, show the uncertainty, and sample pixels from the model.

python workflows/image_gallery.py [--step S] [--components K] [--out DIR]

Each pixel is a row with five features: line, column, red, green and blue.
"""

import argparse
from pathlib import Path

import dask.array as da
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.datasets import load_sample_image

from daskgmm import GaussianMixture


def paint(model: GaussianMixture, shape: tuple[int, ...], n_samples: int) -> NDArray[np.float64]:
    """Paint pixels sampled from the model; positions without a pixel are white."""
    rows, _ = model.sample(n_samples)
    line, column = np.rint(rows[:, :2]).astype(int).T
    inside = (line >= 0) & (line < shape[0]) & (column >= 0) & (column < shape[1])
    canvas = np.ones(shape)
    canvas[line[inside], column[inside]] = rows[inside, 2:].clip(0.0, 1.0)
    return canvas


def main() -> None:
    """Fit the photo and draw four images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step", default=1, type=int, help="use every S-th line and column")
    parser.add_argument("--components", default=20, type=int)
    parser.add_argument("--out", default="docs/images", type=Path)
    options = parser.parse_args()
    photo = load_sample_image("china.jpg")[:: options.step, :: options.step] / 255.0
    positions = np.indices(photo.shape[:2]).reshape(2, -1).T
    rows = da.from_array(np.hstack([positions, photo.reshape(-1, 3)]), chunks=(65_536, 5))
    model = GaussianMixture(options.components, reg_covar="scale", random_state=0).fit(rows)
    labels = model.predict(rows).compute().reshape(photo.shape[:2])
    uncertainty = 1.0 - model.predict_proba(rows).max(axis=1).compute().reshape(labels.shape)
    print(f"{len(rows):,} pixels, {model.n_components} segments: {model.outcome_}")
    print(f"{(uncertainty > 0.1).mean():.0%} of the pixels have no segment with probability 0.9")
    images = {
        "photo": photo,
        "segments in their mean color": model.means_[labels, 2:].clip(0.0, 1.0),
        "uncertainty: one minus the largest probability": uncertainty,
        "pixels sampled from the model": paint(model, photo.shape, 4 * len(rows)),
    }
    figure = Figure(figsize=(10, 7), layout="constrained")
    for axes, (title, image) in zip(figure.subplots(2, 2).flat, images.items(), strict=True):
        axes.imshow(image, cmap="magma")
        axes.set(title=title, xticks=[], yticks=[])
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "china.webp", dpi=110, pil_kwargs={"quality": 80})


if __name__ == "__main__":
    main()
