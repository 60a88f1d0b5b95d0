from itertools import combinations

import numpy as np

from daskgmm.plots.display import COLOURS, component_colour, component_dashes

# Machado, Oliveira & Fernandes 2009, table 1, severity 1.0: protanopia, deuteranopia.
NO_RED = [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
]
NO_GREEN = [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.011820, 0.042940, 0.968881],
]
# Ottosson 2020: linear sRGB to cone responses, and their cube roots to Oklab.
TO_CONES = [
    [0.41222147, 0.53633254, 0.05144599],
    [0.2119035, 0.68069955, 0.10739696],
    [0.08830246, 0.28171884, 0.6299787],
]
TO_LAB = [
    [0.21045426, 0.7936178, -0.00407205],
    [1.9779985, -2.42859221, 0.45059371],
    [0.02590404, 0.78277177, -0.80867577],
]


def linear(colour):
    values = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def luminance(colour):
    return linear(colour) @ [0.2126, 0.7152, 0.0722]


def test_colours_have_contrast_on_light_and_dark_backgrounds():
    for colour in COLOURS:
        assert 1.05 / (luminance(colour) + 0.05) >= 2.95
        assert (luminance(colour) + 0.05) / (luminance("#14171a") + 0.05) >= 2.95


def test_colours_differ_with_red_or_green_blindness():
    for sight in (np.eye(3), NO_RED, NO_GREEN):
        seen = [
            np.array(TO_LAB) @ np.cbrt(np.array(TO_CONES) @ np.clip(sight @ linear(c), 0, 1))
            for c in COLOURS
        ]
        assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 0.05


def test_forty_components_look_different():
    looks = {(component_colour(k), component_dashes(k)) for k in range(40)}
    assert len(looks) == 40
