import io
import tracemalloc
import zipfile
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
from strategies import clusters, settings

from daskgmm.data.dataset import InMemoryDataset
from daskgmm.fit.checkpoint.snapshot import NewerFormatError, from_bytes
from daskgmm.fit.checkpoint.store import NoCheckpoints
from daskgmm.fit.convergence import ExpectedGain
from daskgmm.fit.driver import fit_mixture
from daskgmm.fit.observers import NullObserver
from daskgmm.storage.npz import open_archive, pack_archive

X = clusters(400)


class Last(NoCheckpoints):
    """Holds the newest snapshot in memory."""

    def record(self, snapshot):
        self.snapshot = snapshot


def snapshot(name="full", **changes):
    rows = X.copy()
    rows[::50, 1] = np.nan
    last = Last()
    options = {"rule": ExpectedGain(1e-9, 4), "accelerated": True, "n_init": 2, **changes}
    dataset = InMemoryDataset(rows, np.linspace(0, 1, 400), missing="omit")
    random = np.random.RandomState(0)
    fit_mixture(dataset, settings(name, **options), random, NullObserver(), last)
    return last.snapshot


def same(one, other):
    """Whether two values are equal to the bit and of the same types, numbers of NumPy's aside."""
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and bits(one) == bits(other)
    if is_dataclass(one):
        names = [field.name for field in fields(one)]
        return type(one) is type(other) and all(
            same(getattr(one, name), getattr(other, name)) for name in names
        )
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (one != one and other != other)  # noqa: PLR0124  NaN


def bits(array):
    return array.tobytes(order="A"), array.flags.f_contiguous


def test_a_snapshot_comes_back_bit_for_bit(family_name):
    one = snapshot(family_name)
    assert one.states[0].accelerator.pairs
    assert one.survey.sample.weights is not None
    other = from_bytes(one.to_bytes())
    assert same(one, other)
    state = other.states[0]
    state.accelerator.gradient[0] += 1.0  # arrays like any others
    assert state.accelerator.em_step.family is one.states[0].parameters.family


def test_shared_arrays_are_written_once():
    one = from_bytes(snapshot().to_bytes())
    for state in one.states:
        assert state.accelerator.em_step.means is state.parameters.means


def test_a_newer_format_is_named():
    with open_archive(io.BytesIO(snapshot().to_bytes())) as archive:
        header = archive.header()
    with pytest.raises(NewerFormatError, match="7"):
        from_bytes(pack_archive({**header, "version": 7}, {}))
    with pytest.raises(ValueError, match="not a checkpoint"):
        from_bytes(pack_archive({**header, "format": "daskgmm mixture"}, {}))


def mutated(data, random):
    data, at = bytearray(data), int(random.integers(len(data)))
    match random.integers(4):
        case 0:
            data[at] ^= 1 << int(random.integers(8))
        case 1:
            del data[at:]
        case 2:
            data[at : at + 16] = bytes(len(data[at : at + 16]))
        case 3:
            data[at:at] = data[at : at + int(random.integers(1, 64))]
    return bytes(data)


@pytest.mark.parametrize("n_files", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_damaged_bytes_raise_or_change_nothing(n_files):
    one = replace(snapshot(), states=())
    whole, random = one.to_bytes(), np.random.default_rng(0)
    tracemalloc.start()
    refused = 0
    for _ in range(n_files):
        try:
            decoded = from_bytes(mutated(whole, random))
        except Exception:  # noqa: BLE001  whatever readers make of it
            refused += 1
        else:  # what nobody reads
            assert same(decoded, one)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused > 0.6 * n_files
    assert peak < 10 * len(whole) + (1 << 20)


def test_a_wrong_member_raises():
    # Damage inside the members, with valid checksums, as from an attacker.
    with zipfile.ZipFile(io.BytesIO(snapshot().to_bytes())) as file:
        members = {each: file.read(each) for each in file.namelist()}
    random = np.random.default_rng(1)
    for _ in range(300):
        chosen = "header.npy" if random.random() < 0.5 else random.choice(list(members))
        data = bytearray(members[chosen])
        data[random.integers(len(data))] = random.integers(32, 127)
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as file:
            for each, content in {**members, chosen: bytes(data)}.items():
                file.writestr(each, content)
        with suppress(Exception):
            assert from_bytes(stream.getvalue()).states
