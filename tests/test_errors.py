import copy
import pickle
import traceback

import numpy as np
import pytest
from strategies import mixture

from daskgmm.errors import DataError, DegenerateCovarianceError


@pytest.mark.parametrize("again", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy])
def test_a_degenerate_fit_survives_pickling_with_its_model(again):
    model = mixture("full")
    error = DegenerateCovarianceError([1], n_pass=3, mixture=model)
    copied = again(error)
    assert type(copied) is DegenerateCovarianceError
    assert str(copied) == str(error)
    assert (copied.components, copied.n_pass) == ((1,), 3)
    np.testing.assert_array_equal(copied.mixture.means, model.means)


@pytest.mark.parametrize(
    ("components", "n_pass", "sentence"),
    [
        ([3], 7, "Here component 3 collapsed in pass 7."),
        ([0, 4], 0, "Here components 0 and 4 collapsed at the start."),
        (range(9), 1, "Here components 0, 1, 2, 3, 4 and 4 more collapsed in pass 1."),
        ((), 2, "Here the covariance that all components share collapsed in pass 2."),
    ],
)
def test_it_says_which_when_and_what_to_do(components, n_pass, sentence):
    text = str(DegenerateCovarianceError(components, n_pass=n_pass))
    assert text.startswith(DegenerateCovarianceError.SENTENCE)
    assert sentence in text
    assert "degenerate='reinitialize'" in text
    assert "`mixture`" not in text
    with_model = str(DegenerateCovarianceError(components, n_pass=n_pass, mixture=object()))
    assert "The model from before is this error's `mixture`." in with_model


def test_outside_a_fit_it_is_scikit_learns_sentence():
    assert str(DegenerateCovarianceError([2])) == DegenerateCovarianceError.SENTENCE


class PeculiarError(Exception):
    """Its pickle can't be read: it is made of two things and knows one text."""

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


def test_what_caused_an_error_of_the_data_is_known_in_another_process():
    error = raised_from(KeyError("rows"))
    copied = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(error))))
    assert str(copied) == str(error)
    assert repr(copied.__cause__) == "KeyError('rows')"
    assert "raise cause" in "".join(traceback.format_exception(copied))
    assert copied.__notes__ == ["a note"]


def test_a_cause_that_cannot_be_sent_stays_behind_with_its_traceback_as_a_note():
    copied = pickle.loads(pickle.dumps(raised_from(PeculiarError("this", "that"))))
    assert copied.__cause__ is None
    assert copied.__notes__[1].endswith("PeculiarError: this, that")
    assert pickle.loads(pickle.dumps(DataError("plain"))).args == ("plain",)
