import pytest

from daskgmm import open_dataset
from daskgmm.errors import DataError


@pytest.fixture
def refusal():
    """The one sentence with which rows are refused, be it when opened or when read."""

    def refused(url, columns=None):
        with pytest.raises(DataError) as caught:
            open_dataset(url, columns=columns).collection.compute(scheduler="sync")
        sentence = str(caught.value)
        assert "\n" not in sentence
        return sentence

    return refused
