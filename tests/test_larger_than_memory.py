"""The promise of the project's first sentence, on real processes with a real limit."""

import numpy as np
import pytest

from daskgmm import GaussianMixture, open_dataset
from daskgmm.pipeline.clusters.local import LocalCluster


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_rows_of_five_times_a_workers_memory_are_fitted_within_it(tmp_path):
    n_features, n_rows, limit = 100, 2_500_000, 400 << 20
    path = tmp_path / "rows.npy"
    rows = np.lib.format.open_memmap(path, "w+", np.float64, (n_rows, n_features))
    random = np.random.default_rng(0)
    for start in range(0, n_rows, 100_000):
        some = random.normal(size=(100_000, n_features))
        some[::2] += 3.0
        rows[start : start + 100_000] = some
    del rows
    cluster = LocalCluster(n_workers=2, memory_limit=f"{limit} B")
    with cluster.connect(print) as connection:
        before, _ = connection.peak_memory()
        model = GaussianMixture(2, max_iter=3, init_params="k-means++", random_state=0)
        model.fit(open_dataset(path))
        driver, worker = connection.peak_memory()
    np.testing.assert_allclose(np.sort(model.means_.mean(axis=1)), [0.0, 3.0], atol=0.01)
    assert path.stat().st_size > 4.5 * limit
    assert worker < limit
    # The driver's share: the sample of 50,000 rows, its copies while starts are found.
    assert driver - before < 10 * 50_000 * n_features * 8
