import numpy as np
import pytest

from daskgmm import GaussianMixture
from daskgmm.plots import EntropyDisplay


def test_bars_are_shares_of_the_rows(axes):
    entropies = np.array([0.0, 0.0, 0.0, np.log(2.0)])
    shares, *_ = EntropyDisplay(entropies).plot(axes, bins=4).bars_.get_data()
    assert shares.tolist() == [0.75, 0.0, 0.0, 0.25]
    shares, *_ = (
        EntropyDisplay(entropies, row_weights=np.array([0, 0, 1, 3]))
        .plot(axes, bins=4)
        .bars_.get_data()
    )
    assert shares.tolist() == [0.25, 0.0, 0.0, 0.75]


def test_entropies_are_those_of_the_responsibilities(model, rows, axes):
    display = EntropyDisplay.from_estimator(model, rows, ax=axes)
    p = model.predict_proba(rows)
    expected = -np.sum(p * np.log(np.maximum(p, 1e-300)), axis=1)
    np.testing.assert_allclose(np.sort(display.entropies), np.sort(expected), atol=1e-9)


def test_lines_mark_equally_likely_components(axes):
    EntropyDisplay(np.array([0.0, np.log(6.0)])).plot(axes)
    assert [text.get_text() for text in axes.texts] == [
        "2 equally likely ",
        "3 equally likely ",
        "5 equally likely ",
    ]
    ends = [line.get_xdata()[0] for line in axes.lines]
    np.testing.assert_allclose(ends, np.log([2.0, 3.0, 5.0]))


def test_a_single_component_is_always_sure(rows):
    model = GaussianMixture(1, random_state=0).fit(rows)
    shares, *_ = EntropyDisplay.from_estimator(model, rows).bars_.get_data()
    assert shares[0] == pytest.approx(1.0)


@pytest.mark.parametrize("entropies", [[0.0], [0.0, 1e-9], [0.0, 5.0]])
def test_labels_of_the_axis_are_per_cent(axes, entropies):
    EntropyDisplay(np.array(entropies)).plot(axes)
    axes.figure.canvas.draw()
    shown = axes.get_yticklabels() + axes.get_yticklabels(minor=True)
    labels = {label.get_text() for label in shown} - {""}
    assert {"100 %", "1 %"} <= labels
    assert all(label.endswith(" %") for label in labels)
