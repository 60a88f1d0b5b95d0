import numpy as np
import pytest
from strategies import settings

from daskgmm.fit.initialization.short_em import N_SURVIVORS
from daskgmm.fit.initialization.user_parameters import UserParameters


def test_the_sample_grows_with_the_model_and_stays_in_memory():
    assert settings().sample_size(3) == 50_000
    assert settings("spherical", n_components=64).sample_size(64) == 100 * 64 * 64
    p = 8 * (1 + 16 + 16 * 17 // 2) - 1
    assert settings(n_components=8).sample_size(16) == max(50_000, round(p / 2e-2))
    assert settings(n_components=64).sample_size(10_000) == (1 << 28) // 80_000
    assert settings(n_components=9000).sample_size(10**6) == 9000


@pytest.mark.parametrize(
    ("changes", "may_move", "n_candidates"),
    [
        ({"init_params": "short-em"}, True, N_SURVIVORS),
        ({"init_params": "short-em", "n_init": 3}, True, 3 * N_SURVIVORS),
        ({"init_params": "short-em", "sample_start": True}, True, 2 * N_SURVIVORS),
        ({"init_params": "short-em", "accelerated": False}, False, 1),
        ({"init_params": "kmeans"}, True, 1),
        ({"init_params": np.zeros(5)}, False, 1),
        (
            {"init_params": "kmeans", "user_parameters": UserParameters(means=np.zeros((3, 2)))},
            False,
            1,
        ),
    ],
)
def test_who_may_move_and_how_many_share_a_pass(changes, may_move, n_candidates):
    found = settings(**{"accelerated": True, **changes})
    assert (found.may_move, found.n_candidates) == (may_move, n_candidates)
