"""A photo as rows: its parts, where they are in doubt, and one drawn from the model.

python workflows/image_gallery.py [--step S] [--components K] [--out DIR]

A pixel is a row of five features: where it is, and its colour.
"""

import argparse
from pathlib import Path

import dask.array as da
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.datasets import load_sample_image

from daskgmm import GaussianMixture


def drawn(model: GaussianMixture, shape: tuple[int, ...], per_pixel: int) -> NDArray[np.float64]:
    """A photo of pixels that are drawn from the model; white where none came to lie."""
    rows, _ = model.sample(per_pixel * shape[0] * shape[1])
    line, column = np.rint(rows[:, :2]).astype(int).T
    seen = (line >= 0) & (line < shape[0]) & (column >= 0) & (column < shape[1])
    canvas = np.ones(shape)
    canvas[line[seen], column[seen]] = rows[seen, 2:].clip(0.0, 1.0)
    return canvas


def main() -> None:
    """Run the steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step", default=1, type=int, help="2 takes every second pixel each way")
    parser.add_argument("--components", default=20, type=int)
    parser.add_argument("--out", default="docs/images", type=Path)
    options = parser.parse_args()
    photo = load_sample_image("china.jpg")[:: options.step, :: options.step] / 255.0
    places = np.indices(photo.shape[:2]).reshape(2, -1).T
    rows = da.from_array(np.hstack([places, photo.reshape(-1, 3)]), chunks=(65_536, 5))
    model = GaussianMixture(options.components, reg_covar="scale", random_state=0).fit(rows)
    labels = model.predict(rows).compute().reshape(photo.shape[:2])
    doubt = 1.0 - model.predict_proba(rows).max(axis=1).compute().reshape(labels.shape)
    print(f"{len(rows):,} pixels, {model.n_components} parts: {model.outcome_}")
    print(f"the most probable part has less than 0.9 for {(doubt > 0.1).mean():.0%} of the pixels")
    shown = {
        "the photo": photo,
        "its parts, each in its mean colour": model.means_[labels, 2:].clip(0.0, 1.0),
        "doubt: 1 less the largest probability": doubt,
        "four pixels drawn from the model for each one": drawn(model, photo.shape, per_pixel=4),
    }
    figure = Figure(figsize=(10, 7), layout="constrained")
    for axes, (title, image) in zip(figure.subplots(2, 2).flat, shown.items(), strict=True):
        axes.imshow(image, cmap="magma")
        axes.set(title=title, xticks=[], yticks=[])
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "china.webp", dpi=110, pil_kwargs={"quality": 80})


if __name__ == "__main__":
    main()
