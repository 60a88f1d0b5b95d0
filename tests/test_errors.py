import copy
import pickle
import traceback

import numpy as np
import pytest
from strategies import mixture

from daskgmm.errors import DataError, DegenerateCovarianceError


@pytest.mark.parametrize("copy_error", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy])
def test_a_degenerate_covariance_error_can_be_pickled_and_copied(copy_error):
    model = mixture("full")
    error = DegenerateCovarianceError([1], n_pass=3, mixture=model)
    copied = copy_error(error)
    assert type(copied) is DegenerateCovarianceError
    assert str(copied) == str(error)
    assert (copied.components, copied.n_pass) == ((1,), 3)
    np.testing.assert_array_equal(copied.mixture.means, model.means)


@pytest.mark.parametrize(
    ("components", "n_pass", "sentence"),
    [
        ([3], 7, " Component 3 collapsed in pass 7."),
        ([0, 4], 0, " Components 0 and 4 collapsed at the start."),
        (range(9), 1, " Components 0, 1, 2, 3, 4 and 4 more collapsed in pass 1."),
        ((), 2, " The covariance that all components share collapsed in pass 2."),
    ],
)
def test_the_message_names_components_pass_and_remedy(components, n_pass, sentence):
    text = str(DegenerateCovarianceError(components, n_pass=n_pass))
    assert text.startswith(DegenerateCovarianceError.SENTENCE)
    assert sentence in text
    assert "degenerate='reinitialize'" in text
    assert "`mixture`" not in text
    with_model = str(DegenerateCovarianceError(components, n_pass=n_pass, mixture=object()))
    assert "The last valid model is this error's `mixture`." in with_model


def test_outside_a_fit_the_message_is_scikit_learns():
    assert str(DegenerateCovarianceError([2])) == DegenerateCovarianceError.SENTENCE


class PeculiarError(Exception):
    """An exception that cannot be unpickled: its constructor takes two arguments."""

    def __init__(self, a, b):
        super().__init__(f"{a}, {b}")


def raised_from(cause):
    try:
        try:
            raise cause  # noqa: TRY301
        except Exception as error:
            raise DataError("chunk 3 could not be loaded") from error
    except DataError as error:
        error.add_note("a note")
        return error


def test_the_cause_of_a_data_error_survives_pickling():
    error = raised_from(KeyError("rows"))
    copied = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(error))))
    assert str(copied) == str(error)
    assert repr(copied.__cause__) == "KeyError('rows')"
    assert "raise cause" in "".join(traceback.format_exception(copied))
    assert copied.__notes__ == ["a note"]


def test_a_cause_that_cannot_be_pickled_becomes_a_note_with_its_traceback():
    copied = pickle.loads(pickle.dumps(raised_from(PeculiarError("this", "that"))))
    assert copied.__cause__ is None
    assert copied.__notes__[1].endswith("PeculiarError: this, that")
    assert pickle.loads(pickle.dumps(DataError("plain"))).args == ("plain",)
