import functools
import operator

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from strategies import clusters, cuts

from daskgmm.chunk import BadChunk, Chunk
from daskgmm.data.dataset import DaskDataset, InMemoryDataset
from daskgmm.data.execution.checksums import checksum
from daskgmm.data.pass_log import LoggedDataset
from daskgmm.data.sample import SampleTarget, row_keys
from daskgmm.data.survey import survey_chunk, take_survey
from daskgmm.errors import DataError

X = clusters(60)
W = np.random.default_rng(0).gamma(1.0, size=60)


def survey(rows, weights=None, chunk_rows=7, size=20, seed=3):
    dataset = InMemoryDataset(rows, weights, chunk_rows=chunk_rows)
    return take_survey(dataset, seed=seed, sample_size=size)


@given(cuts(60))
@settings(max_examples=25)
def test_any_chunking_gives_the_same_survey(lengths):
    dataset = DaskDataset.of(
        da.from_array(X, chunks=(lengths, 3)), weights=da.from_array(W, chunks=(lengths,))
    )
    found, whole = take_survey(dataset, seed=3, sample_size=20), survey(X, W, chunk_rows=60)
    assert found.n_rows == whole.n_rows == 60
    np.testing.assert_allclose(found.mean, whole.mean)
    np.testing.assert_allclose(found.covariance, whole.covariance)
    # The sample holds the same rows.
    np.testing.assert_array_equal(found.sample.numbers, whole.sample.numbers)
    np.testing.assert_array_equal(found.sample.rows, X[whole.sample.numbers])
    np.testing.assert_array_equal(found.sample.weights, W[whole.sample.numbers])


def test_moments_are_numpys():
    found = survey(X, W)
    np.testing.assert_allclose(found.mean, np.average(X, axis=0, weights=W))
    np.testing.assert_allclose(found.covariance, np.cov(X.T, aweights=W, ddof=0))
    np.testing.assert_allclose(found.total_weight, W.sum())


@pytest.mark.parametrize("offset", [1e6, 1e12])
def test_an_offset_costs_no_digits_of_the_covariance(offset):
    rows = np.round(X * 1024) / 1024 if offset < 1e9 else np.round(X)
    found = survey(rows + offset)
    np.testing.assert_allclose(found.covariance, np.cov(rows.T, ddof=0), rtol=1e-9)


def test_a_float32_offset_is_summed_in_float64():
    rows = (np.round(X * 4) / 4 + 4096).astype(np.float32)
    np.testing.assert_allclose(survey(rows).covariance, np.cov(rows.T.astype(float), ddof=0))


def test_the_sample_is_uniform():
    rows = np.arange(50.0)[:, None]
    drawn = np.zeros(50)
    for seed in range(2000):
        numbers = survey(rows, size=10, seed=seed, chunk_rows=50).sample.numbers
        assert len(numbers) == 10
        drawn[numbers] += 1
    expected = 2000 * 10 / 50
    # 4.5 binomial standard deviations
    assert np.abs(drawn - expected).max() < 4.5 * np.sqrt(expected * 0.8)


def test_another_seed_is_another_sample():
    a, b = (survey(X, seed=seed).sample.numbers for seed in (0, 1))
    assert set(a) != set(b)


def test_a_sample_larger_than_the_data_is_the_data():
    found = survey(X, size=1000).sample
    np.testing.assert_array_equal(found.rows, X)
    np.testing.assert_array_equal(found.numbers, np.arange(60))


def test_keys_depend_on_the_row_number_alone():
    whole = row_keys(5, np.arange(1000))
    for numbers in (np.array([999]), np.arange(17, 200), np.array([3, 4, 9, 998])):
        np.testing.assert_array_equal(row_keys(5, numbers), whole[numbers])
    far = np.array([10**15, 10**15 + 1])
    assert len(set(row_keys(5, far))) == 2
    assert len(row_keys(5, np.empty(0, int))) == 0


def gappy():
    rows = X.copy()
    rows[12, 1] = np.nan
    rows[30, [0, 2]] = np.nan
    return rows


def test_missing_values_are_counted_and_enter_neither_moments_nor_sample():
    found = survey(gappy(), size=100)
    whole = np.delete(np.arange(60), [12, 30])
    assert (found.n_rows, found.n_incomplete, found.n_complete) == (60, 2, 58)
    np.testing.assert_array_equal(found.missing_per_column, [1, 1, 1])
    np.testing.assert_allclose(found.mean, X[whole].mean(axis=0))
    np.testing.assert_array_equal(found.sample.numbers, whole)
    found.raise_for_bad_cells(missing="omit", columns=None)


def test_the_message_names_the_first_nan_with_row_chunk_and_column():
    sentence = (
        r"2 of 60 rows have missing values, the first one in row 12 of the data \(chunk 1\), "
        r"column 1 \('b'\)"
    )
    with pytest.raises(DataError, match=sentence) as raised:
        survey(gappy()).raise_for_bad_cells(missing="raise", columns=("a", "b", "c"))
    assert str(raised.value).startswith("Input X contains NaN.\nGaussianMixture does not accept")


def test_the_message_names_the_first_infinity_when_nan_is_omitted():
    rows = gappy()
    rows[40, 2] = -np.inf
    with pytest.raises(DataError, match=r"contains infinity .* row 40 of the data \(chunk 5\)"):
        survey(rows).raise_for_bad_cells(missing="omit", columns=None)


def test_a_row_with_nan_and_infinity_is_omitted():
    rows = X.copy()
    rows[5, 0], rows[5, 1] = np.nan, np.inf
    survey(rows).raise_for_bad_cells(missing="omit", columns=None)


def test_partial_samples_are_not_much_larger_than_the_sample():
    # Otherwise every shard would hold a whole sample, and the driver would receive the data.
    rows = np.arange(40_000.0)[:, None]
    target = SampleTarget.for_rows(100, len(rows))
    parts = [
        survey_chunk(Chunk(rows[a : a + 500], None, a // 500, a), seed=1, target=target)
        for a in range(0, len(rows), 500)
    ]
    held = sum(len(part.sample.keys) for part in parts)
    assert 100 <= held <= 300
    total = functools.reduce(operator.add, parts).sample
    whole = survey(rows, size=100, seed=1, chunk_rows=len(rows)).sample
    np.testing.assert_array_equal(total.numbers, whole.numbers)
    keys = row_keys(1, np.arange(40_000))
    np.testing.assert_array_equal(total.numbers, np.sort(np.argsort(keys)[:100]))


def test_the_sample_is_drawn_again_if_most_rows_are_not_usable():
    rows = np.full((20_000, 1), np.nan)
    rows[::100] = 1.0
    rows = LoggedDataset(InMemoryDataset(rows, chunk_rows=999))
    assert len(take_survey(rows, seed=0, sample_size=150).sample.numbers) == 150
    assert len(rows.passes) == 2
    rows = LoggedDataset(InMemoryDataset(X))
    take_survey(rows, seed=0, sample_size=20)
    assert len(rows.passes) == 1


def test_rows_of_weight_zero_do_not_enter_the_sample():
    weights = np.zeros(20_000)
    weights[::500] = 2.0
    rows = np.arange(20_000.0)[:, None]
    found = take_survey(InMemoryDataset(rows, weights), seed=0, sample_size=1000)
    np.testing.assert_array_equal(found.sample.numbers, np.arange(0, 20_000, 500))
    assert found.sample_is_all
    assert found.n_usable == 40


def test_too_few_rows_raise_scikit_learns_message():
    sentence = "Expected n_samples >= n_components but got n_components = 61, n_samples = 60"
    with pytest.raises(DataError, match=sentence):
        survey(X).raise_for_too_few(61)
    for n_rows in (0, 1):
        with pytest.raises(DataError, match=rf"Found array with {n_rows} sample\(s\)"):
            survey(X[:n_rows]).raise_for_too_few(1)
    with pytest.raises(DataError, match=r"\(60 of 60 rows have a missing value\)"):
        survey(X * np.nan).raise_for_too_few(1)
    none = np.zeros(60)
    none[:2] = 1.0
    with pytest.raises(DataError, match="n_samples = 2"):
        survey(X, none).raise_for_too_few(3)


def test_a_constant_feature_takes_its_scale_from_the_others():
    rows = X * [1.0, 0.0, 2.0]
    variances = rows.var(axis=0)
    np.testing.assert_allclose(
        survey(rows).scales, [variances[0], (variances[0] + variances[2]) / 2, variances[2]]
    )
    np.testing.assert_array_equal(survey(np.full((9, 2), 3.0)).scales, [1.0, 1.0])


def test_the_survey_records_checksums_if_rows_may_change():
    dataset = DaskDataset.of(da.from_array(X, chunks=(25, 3)), weights=da.from_array(W, chunks=25))
    found = take_survey(dataset, seed=3, sample_size=20).checksums
    chunks = [Chunk(X[a : a + 25], W[a : a + 25], 0, 0) for a in (0, 25, 50)]
    np.testing.assert_array_equal(found, np.concatenate([checksum(chunk) for chunk in chunks]))
    assert survey(X).checksums is None


def test_a_second_sample_comes_from_the_same_rows():
    reads = []

    def read(block):
        reads.append(len(block))
        return np.where(np.arange(len(block)) % 100, np.nan, float(len(reads) > 1))[:, None]

    rows = da.zeros((20_000, 1), chunks=20_000).map_blocks(read, meta=np.empty((0, 1)))
    reads.clear()
    with pytest.raises(DataError, match="chunk 0 is not the same as in the survey"):
        take_survey(DaskDataset.of(rows), seed=0, sample_size=150)


def spoilt(lengths=(20, 20, 20), columns=("a", "b", "c"), **options):
    """Rows with a NaN in the first chunk, and a second chunk that cannot be read."""

    def fails(block, block_id=None):
        return block if block_id[0] != 1 else block[1 / 0 :]

    rows = X.copy()
    rows[7, 2] = np.nan
    array = da.from_array(rows, chunks=(lengths, 3)).map_blocks(fails, meta=np.empty((0, 3)))
    weights = da.from_array(W, chunks=(lengths,))
    return DaskDataset.of(array, weights=weights, columns=columns, **options)


def test_bad_chunks_enter_no_sum_and_their_reasons_are_recorded():
    found = take_survey(spoilt(on_bad_chunk="skip"), seed=3, sample_size=100)
    assert found.skipped == (
        BadChunk(0, 20, "NaN in row 7 of the data (chunk 0), column 2 ('c')"),
        BadChunk(1, 20, "chunk 1 could not be loaded: ZeroDivisionError: division by zero"),
    )
    assert (found.n_rows, found.n_complete, found.n_incomplete) == (20, 20, 0)
    np.testing.assert_allclose(found.mean, np.average(X[40:], axis=0, weights=W[40:]))
    np.testing.assert_array_equal(found.sample.numbers, np.arange(40, 60))
    np.testing.assert_array_equal(found.sample.rows, X[40:])
    np.testing.assert_array_equal(found.checksums[:2], 0)
    found.raise_for_bad_cells(missing="raise", columns=None)


@pytest.mark.parametrize("missing", ["omit", "marginal"])
def test_a_missing_value_makes_no_bad_chunk_if_it_is_allowed(missing):
    found = take_survey(spoilt(on_bad_chunk="skip", missing=missing), seed=3, sample_size=100)
    assert [bad.number for bad in found.skipped] == [1]
    assert (found.n_rows, found.n_incomplete) == (40, 1)


def test_a_bad_chunk_is_an_error_unless_it_may_be_skipped():
    with pytest.raises(DataError, match="chunk 1 could not be loaded: ZeroDivisionError"):
        take_survey(spoilt(), seed=3, sample_size=100)


def test_an_infinity_makes_a_bad_chunk():
    rows = X.copy()
    rows[25, 1] = np.inf
    dataset = DaskDataset.of(da.from_array(rows, chunks=(20, 3)), on_bad_chunk="skip")
    (bad,) = take_survey(dataset, seed=3, sample_size=10).skipped
    assert bad == BadChunk(1, 20, "infinity in row 25 of the data (chunk 1), column 1")


def test_a_second_sample_skips_the_same_chunks():
    rows = np.arange(20_000.0)[:, None]
    rows[1000:, 0][::500] = np.nan  # at least one in every chunk but the first
    dataset = DaskDataset.of(da.from_array(rows, chunks=(1000, 1)), on_bad_chunk="skip")
    metered = LoggedDataset(dataset)
    found = take_survey(metered, seed=0, sample_size=500)
    assert len(metered.passes) == 2
    assert [bad.number for bad in found.skipped] == list(range(1, 20))
    assert len(found.sample.numbers) == 500


def test_if_all_chunks_are_bad_the_message_explains_the_first():
    rows = DaskDataset.of(da.from_array(X * np.nan, chunks=(20, 3)), on_bad_chunk="skip")
    with pytest.raises(DataError) as caught:
        take_survey(rows, seed=3, sample_size=10).raise_for_too_few(1)
    assert "Found array with 0 sample(s)" in str(caught.value)
    assert "(3 chunks left out (60 rows): NaN in row 0 of the data (chunk 0)" in str(caught.value)
