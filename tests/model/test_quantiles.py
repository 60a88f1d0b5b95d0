import json

import numpy as np
import pytest

from daskgmm.errors import ParameterError
from daskgmm.model.diagnostics import Quantiles

VALUES = np.random.default_rng(0).normal(size=50_000)


def test_the_lower_tail_is_numpys_to_the_last_digits_and_the_rest_is_near():
    found = Quantiles.of(VALUES)
    assert len(found.values) < 500
    for probability in (2e-5, 1e-4, 1.234e-3, 3.9e-3):
        assert found.at(probability) == pytest.approx(np.quantile(VALUES, probability), rel=1e-12)
    for probability in (0.017, 0.333, 0.5, 0.99):
        below = (found.at(probability) > VALUES).mean()
        assert below == pytest.approx(probability, abs=1e-3)


@pytest.mark.parametrize("n", [1, 2, 5, 199, 200, 201, 300])
def test_small_samples_have_the_quantiles_they_can(n):
    found = Quantiles.of(VALUES[:n])
    probability = max(1.0 / n, 0.5) if n > 1 else None
    if probability:
        assert found.at(probability) == pytest.approx(np.quantile(VALUES[:n], probability))
    with pytest.raises(ParameterError, match=f"a sample of {n} rows"):
        found.at(0.5 / n)


def test_json_gives_them_back():
    found = Quantiles.of(np.append(VALUES, -np.inf))
    written = {name: np.asarray(each).tolist() for name, each in found.as_written().items()}
    again = Quantiles.read(json.loads(json.dumps(written)))
    assert again.at(1e-3) == found.at(1e-3)
    assert np.isfinite(again.values).all()
