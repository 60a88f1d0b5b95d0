import pytest
import yaml

from daskgmm.errors import ConfigError
from daskgmm.fit.criteria import CRITERIA
from daskgmm.pipeline.config.loader import load
from daskgmm.pipeline.config.select import SelectConfig, Selection

SELECTION = """\
source:
  url: rows.npy
model:
  tol: 1e-4
select:
  n_components: 1-6
output:
  dir: results
"""


@pytest.fixture
def read(tmp_path):
    """A configuration, as it is after some changes of the command line."""
    file = tmp_path / "select.yaml"
    file.write_text(SELECTION)

    def reading(*changes, text=SELECTION):
        file.write_text(text)
        return load(file, SelectConfig, changes)

    return reading


@pytest.mark.parametrize(
    ("written", "sizes"),
    [
        ("3", [3]),
        ("1-4", [1, 2, 3, 4]),
        ("2, 4, 8", [2, 4, 8]),
        ("[2, 4, 8]", [2, 4, 8]),
        ("[1-3, 3, 8 - 9]", [1, 2, 3, 8, 9]),
        ("7-7", [7]),
    ],
)
def test_sizes_are_numbers_and_ranges(read, written, sizes):
    assert read(f"select.n_components={written}").select.n_components == sizes


def test_defaults_are_those_of_the_python_function(read):
    options = read("select.covariance_types=diag").select
    assert options.covariance_types == ["diag"]
    assert read("select.covariance_types=[diag, full, diag]").select.covariance_types == [
        "diag",
        "full",
    ]
    assert (options.n_init, options.criterion, options.n_finalists) == (1, "bic", 3)
    assert read().select.covariance_types == ["full"]
    assert set(Selection.model_fields["criterion"].annotation.__args__) == set(CRITERIA)


def test_all_models_share_the_parameters_of_the_run(read):
    assert read().model == {"degenerate": "reinitialize", "tol": 1e-4}


def test_a_saved_configuration_loads_again(read):
    config = read("select.n_components=[1-3, 8]", "select.n_init=4")
    assert read(text=yaml.safe_dump(config.as_dict())) == config


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            "select.n_components=6-1",
            "select.n_components: '6-1' is neither a positive whole number ",
        ),
        (
            "select.n_components=0-3",
            "'0-3' is neither a positive whole number nor a range such as 1-",
        ),
        ("select.n_components=many", "'many' is neither a positive"),
        ("select.n_components=2.5", "'2.5' is neither a positive"),
        ("select.n_components=1-1000000000", "1-1000000000 holds more than 1,000 numbers"),
        ("select.n_components=[]", "select.n_components: must not be empty"),
        ("select.covariance_types=[]", "select.covariance_types: must not be empty"),
        ("select.covariance_types=fll", "unknown covariance type 'fll': did you mean 'full'"),
        ("select.covariance_types=[[full]]", "select.covariance_types.0: input should be a valid"),
        ("select.criterion=held_out", "select.criterion: input should be 'bic', 'aic', 'icl' or"),
        ("select.n_finalists=0", "select.n_finalists: input should be greater than or equal"),
        ("select.n_inits=2", "unknown key 'select.n_inits': did you mean 'n_init'"),
        ("model.n_components=2", "n_components cannot be set here: use select.n_components"),
        ("model.covariance_type=full", "covariance_type cannot be set here: use select.covariance"),
        ("model.n_init=2", "n_init cannot be set here: use select.n_init"),
        ("model.warm_start=true", "warm_start cannot be set here: a run always fits a new model"),
        (
            "model.acceleration=null",
            "model: a selection initializes .* leave the estimator.s acceleration",
        ),
        ("model.tol=-1", "model: the 'tol' parameter"),
    ],
)
def test_a_wrong_value_is_one_sentence(read, change, sentence):
    with pytest.raises(ConfigError, match=sentence):
        read(change)


def test_the_table_does_not_overwrite_the_rows(read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"output.dir: .*selection.csv holds the input data"):
        read("output.dir=.", "source.url=selection.csv")


def test_an_error_names_the_line(read):
    with pytest.raises(ConfigError, match=r"select.yaml, line 6: select.n_components: '6-1'"):
        read(text=SELECTION.replace("1-6", "6-1"))
    with pytest.raises(ConfigError, match=r"line 5: unknown key 'selects': did you mean 'select'"):
        read(text=SELECTION.replace("select:", "selects:"))
    with pytest.raises(ConfigError, match=r"the key 'select' is missing"):
        read(text=SELECTION.replace("select:\n  n_components: 1-6\n", ""))
