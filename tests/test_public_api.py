"""The public names of the package, their docstrings, and the examples in these."""

import doctest
import inspect

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt

import daskgmm
from daskgmm import plots

PUBLIC = {
    **{f"daskgmm.{name}": getattr(daskgmm, name) for name in daskgmm.__all__},
    **{f"daskgmm.plots.{name}": getattr(plots, name) for name in plots.__all__},
}
DOCUMENTED = [name for name in PUBLIC if not name.endswith("__version__")]
WITH_EXAMPLES = [
    "daskgmm.Checkpoint",
    "daskgmm.ComponentSelection",
    "daskgmm.GaussianMixture",
    "daskgmm.select_components",
    *(f"daskgmm.plots.{name}" for name in plots.__all__),
]


def examples(name):
    """The doctests of an object and of its own methods."""
    return [test for test in doctest.DocTestFinder().find(PUBLIC[name], name) if test.examples]


def test_the_public_names():
    assert daskgmm.__all__ == [
        "Checkpoint",
        "CheckpointError",
        "CheckpointWarning",
        "ComponentSelection",
        "ConfigError",
        "DaskDataset",
        "DaskgmmError",
        "DataError",
        "DataWarning",
        "DegenerateCovarianceError",
        "Event",
        "GaussianMixture",
        "Mixture",
        "ModelFileError",
        "NullObserver",
        "Observer",
        "ParameterError",
        "Pass",
        "__version__",
        "open_dataset",
        "select_components",
    ]
    assert plots.__all__ == [
        "ConvergenceDisplay",
        "EllipsesDisplay",
        "EntropyDisplay",
        "MarginalDisplay",
        "SelectionDisplay",
        "component_colour",
    ]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_public_names_have_docstrings(name):
    assert inspect.getdoc(PUBLIC[name])


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_there_are_examples(name):
    assert examples(name)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_examples_run(name):
    with mpl.rc_context({"backend": "agg"}):
        for test in examples(name):
            runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
            output = []
            runner.run(test, out=output.append)
            assert not runner.failures, "".join(output)
        plt.close("all")
