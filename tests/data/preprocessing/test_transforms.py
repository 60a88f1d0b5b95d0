import json

import numpy as np
import pytest

from daskgmm.data.preprocessing.transforms import normalize_transforms, steps_by_column
from daskgmm.errors import DataError


def test_what_is_written_is_json_and_read_again():
    told = [
        {"log1p": ("a", np.int64(3))},
        {"clip": {2: [0, 600], "b": [None, 1.5]}},
        {"standardise": "all"},
    ]
    written = normalize_transforms(told)
    assert json.loads(json.dumps(written)) == written == normalize_transforms(written)
    assert written[1] == {"clip": {"2": [0, 600], "b": [None, 1.5]}}


@pytest.mark.parametrize(
    ("told", "part"),
    [
        ("log", "must be a list"),
        ({"log": ["a"]}, "must be a list"),
        (["log"], "is a name with its columns"),
        ([{"log": ["a"], "log1p": ["b"]}], "is a name with its columns"),
        ([{"sqrt": ["a"]}], "no transform 'sqrt': choose one of log, log1p, clip, standardise"),
        ([{"log": "a"}], "log needs a list of columns, or 'all', not 'a'"),
        ([{"log": []}], "log needs a list of columns"),
        ([{"log": None}], "log needs a list of columns"),
        ([{"log": {"a": 1}}], "log needs a list of columns"),
        ([{"log": [1.5]}], "1.5 is not a column"),
        ([{"log": [True]}], "True is not a column"),
        ([{"clip": ["a"]}], "clip needs bounds for each column"),
        ([{"clip": {}}], "clip needs bounds for each column"),
        ([{"clip": {"a": 3}}], "'a' needs two bounds"),
        ([{"clip": {"a": [0, 1, 2]}}], "'a' needs two bounds"),
        ([{"clip": {"a": "01"}}], "'a' needs two bounds"),
        ([{"clip": {"a": [0, float("nan")]}}], "'a' needs two bounds"),
        ([{"clip": {"a": [None, None]}}], "'a' has no bound"),
        ([{"clip": {"a": [2, 1]}}], "put the lower one first"),
    ],
)
def test_what_is_no_transform_is_one_sentence(told, part):
    with pytest.raises(DataError) as caught:
        normalize_transforms(told)
    assert part in str(caught.value)


def test_values_become_what_numpy_makes_of_them():
    values = np.array([0.5, 2.0, np.nan, 7.0])
    told = normalize_transforms([{"log": ["a"]}, {"log1p": ["a"]}, {"clip": {"a": [1, None]}}])
    (_, log), (_, log1p), (_, clip) = steps_by_column(told, {"a": "a"})
    np.testing.assert_array_equal(log(values), np.log(values))
    np.testing.assert_array_equal(log1p(values), np.log1p(values))
    np.testing.assert_array_equal(clip(values), np.clip(values, 1, None))
    assert clip.feature_name(log.feature_name("a")) == "clip(log(a), 1, inf)"
    np.testing.assert_array_equal(log.undefined(np.array([0.0, -1, 1e-300, np.nan])), [1, 1, 0, 0])
    assert clip(values.astype(np.float32)).dtype == np.float32
