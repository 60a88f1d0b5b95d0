from itertools import pairwise

import dask
import pytest
import yaml
from pydantic import ValidationError

from daskgmm.errors import ConfigError
from daskgmm.pipeline.config.fit import DEFAULTS, EXCLUDED_PARAMETERS, FitConfig
from daskgmm.pipeline.config.loader import load

FIT = {"source": {"url": "rows.npy"}, "model": {"n_components": 3}, "output": {"dir": "results"}}


@pytest.fixture
def write(tmp_path):
    """Write a configuration, given as text or as a value."""

    def written(content):
        path = tmp_path / "config.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return path

    return written


@pytest.fixture
def refusal(write):
    """The one sentence with which a configuration is refused."""

    def refused(content, *changes, kind=FitConfig):
        path = write(content)
        with pytest.raises(ConfigError) as caught:
            load(path, kind, changes)
        sentence = str(caught.value)
        assert "\n" not in sentence
        assert changes or str(path) in sentence
        return sentence

    return refused


def test_a_configuration_holds_the_values_of_its_file_and_defaults(write):
    config = load(write(FIT), FitConfig)
    assert config.source.url == "rows.npy"
    assert config.source.columns is None
    assert config.source.missing == "raise"
    assert config.source.retries == 3
    with dask.config.set({"daskgmm.read-retries": 8}):
        assert load(write(FIT), FitConfig).source.retries == 8
    assert config.model == {"n_components": 3, **DEFAULTS}
    assert str(config.output.dir) == "results"


def test_changes_are_applied_in_order_and_create_missing_sections(write):
    path = write({"source": {"url": "rows.npy"}, "output": {"dir": "results"}})
    changes = (
        "source.columns=[a, 3]",
        "model.n_components=4",
        "model.n_components=5",
        "model.means_init=[[0.5]]",
        "output.dir=a=b",
    )
    config = load(path, FitConfig, changes)
    assert config.source.columns == ["a", 3]
    assert config.model == {"n_components": 5, "means_init": [[0.5]], **DEFAULTS}
    assert str(config.output.dir) == "a=b"


def test_a_run_reinitializes_collapsed_components_by_default(write):
    assert load(write(FIT), FitConfig).model["degenerate"] == "reinitialize"
    assert load(write({**FIT, "model": {}}), FitConfig).model == DEFAULTS
    assert load(write({k: FIT[k] for k in ("source", "output")}), FitConfig).model == DEFAULTS
    config = load(write(FIT), FitConfig, ["model.degenerate=raise", "model.reg_covar=scale"])
    assert (config.model["degenerate"], config.model["reg_covar"]) == ("raise", "scale")


@pytest.mark.parametrize("number", ["1e-3", "1.0e-3", "0.001"])
def test_a_number_may_have_an_exponent(write, number):
    in_file = write(f"{{source: {{url: x.npy}}, model: {{tol: {number}}}, output: {{dir: x}}}}")
    assert load(in_file, FitConfig).model["tol"] == 0.001
    assert load(write(FIT), FitConfig, [f"model.tol={number}"]).model["tol"] == 0.001


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        (("modle",), "unknown key 'modle': did you mean 'model'?"),
        (("source", "colums"), "unknown key 'source.colums': did you mean 'columns'?"),
        (("output", "dirr"), "unknown key 'output.dirr': did you mean 'dir'?"),
        (("model", "n_component"), "unknown key 'model.n_component': did you mean 'n_components'?"),
        (("zzz",), "unknown key 'zzz'; allowed are checkpoint, model, output, source"),
    ],
    ids=lambda each: ".".join(each) if isinstance(each, tuple) else "",
)
def test_an_error_names_an_unknown_key_and_the_nearest_known_one(refusal, place, sentence):
    *sections, key = place
    inner = {key: 1} if not sections else {sections[0]: {**FIT[sections[0]], key: 1}}
    assert sentence in refusal({**FIT, **inner})


def test_an_error_names_a_misspelt_required_key_and_the_right_one(refusal):
    sentence = refusal({"sorce": FIT["source"], "output": FIT["output"]})
    assert "unknown key 'sorce': did you mean 'source'?" in sentence


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ("model.n_components=0", "'n_components' parameter"),
        ("model.n_components=two", "Got 'two'"),
        ("model.covariance_type=fulll", "Got 'fulll'"),
        ("model.tol=-1", "'tol' parameter"),
        ("model.degenerate=ignore", "'degenerate' parameter"),
        ("model.reg_covar=scaled", "'reg_covar' parameter"),
        ("model.random_state=-1", "'random_state' parameter"),
        ("model=[1]", "model: "),
        ("source.missing=drop", "source.missing: input should be 'raise', 'omit' or 'marginal'"),
        ("source.columns=delay", "source.columns: "),
        ("source.url=null", "source.url: must be a URL or a list of URLs"),
        ("source.url=[]", "source.url: must be a URL or a list of URLs"),
        ("source.storage_options=3", "source.storage_options: must be keys and values, not 3"),
        ("source.retries=-1", "source.retries: "),
        ("source.on_bad_chunk=omit", "source.on_bad_chunk: input should be 'raise' or 'skip'"),
        ("output=null", "output: "),
        ("output.dir=", "output.dir: "),
        ("output.dir=''", "output.dir: must be the name of a folder, not an empty text"),
        ("select.n_components=1-3", "run `daskgmm select`"),
    ],
)
def test_an_error_names_the_key_of_a_wrong_value(refusal, change, part):
    assert part in refusal(FIT, change)


def test_an_error_names_a_missing_key(refusal):
    assert "the key 'output' is missing" in refusal({"source": {"url": "rows.npy"}})
    assert "the key 'source' is missing (and 1 more mistake)" in refusal({})


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ("model.n_components", "write it as key=value"),
        ("model.tol=[1", "while parsing a flow sequence"),
        ("source.url.x=1", "'url' is a value and has no keys"),
    ],
)
def test_an_error_quotes_a_wrong_change(refusal, change, part):
    sentence = refusal(FIT, change)
    assert f"--set {change}" in sentence
    assert part in sentence


@pytest.mark.parametrize("content", ["", "- source", "source"])
def test_a_file_without_keys_is_refused(refusal, content):
    assert "must contain keys and values" in refusal(content)


def test_an_error_names_the_line_of_invalid_yaml(refusal):
    sentence = refusal("source:\n  url: [rows.npy\n")
    assert "is not YAML" in sentence
    assert "line 3" in sentence


BOMB = "\n".join(f"  {b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in pairwise("abcdefghi"))


@pytest.mark.parametrize(
    "content",
    ["source: &a {url: rows.npy, storage_options: {x: *a}}", f"source:\n  a: &a [x]\n{BOMB}"],
    ids=["itself", "a hundred million"],
)
def test_a_file_that_contains_itself_or_too_many_values_is_refused(refusal, content):
    assert "has more than 100,000 values, or contains itself" in refusal(content)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not YAML"):
        load(path, FitConfig)


def test_an_error_names_a_missing_file(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: No such file"):
        load(tmp_path / "absent.yaml", FitConfig)


@pytest.mark.parametrize("key", EXCLUDED_PARAMETERS)
def test_a_parameter_that_would_be_ignored_is_refused(key):
    with pytest.raises(ValidationError, match=f"{key} cannot be set here"):
        FitConfig.model_validate(
            {"source": {"url": "x"}, "output": {"dir": "y"}, "model": {key: 1}}
        )


def test_a_tilde_is_the_home_directory(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    config = FitConfig.model_validate(
        {
            "source": {"url": "~/rows.npy"},
            "output": {"dir": "~/results"},
            "checkpoint": {"dir": "~/kept"},
        }
    )
    assert config.source.url == "/home/somebody/rows.npy"
    assert str(config.output.dir) == "/home/somebody/results"
    assert config.checkpoint_dir == "/home/somebody/kept"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("source:\n  url: x.npy\n  colums: [a]\noutput: {dir: y}", ", line 3: unknown key"),
        ("source: {url: x.npy}\noutput:\n  dir: y\nmodel:\n  n_component: 3", ", line 5: unknown"),
        ("source: {url: x.npy}\nmodel:\n  n_components: 0\noutput: {dir: y}", ", line 2: model: "),
        (
            "source:\n\n  columns: [a]\noutput: {dir: y}",
            ", line 1: the key 'source.url' is missing",
        ),
        ("source: {url: x.npy}", ".yaml: the key 'output' is missing"),
        ("source: {url: x.npy}\noutput:\n  dir: ${NOWHERE}/x", ", line 3: output.dir: the env"),
    ],
)
def test_an_error_names_the_line(refusal, text, sentence):
    assert sentence in refusal(text)


def test_an_error_in_a_change_has_no_line(refusal):
    assert "config.yaml: source.missing: input should" in refusal(FIT, "source.missing=drop")


def test_values_refer_to_environment_variables_and_stay_references_when_saved(write, monkeypatch):
    monkeypatch.setenv("BUCKET", "rows")
    monkeypatch.setenv("SECRET", "hunter2")
    text = """
        source: {url: "/${BUCKET}/${BUCKET}.npy", columns: [a, "${SECRET}"]}
        output: {dir: "${BUCKET}"}
    """
    config = load(write(text), FitConfig, ["checkpoint.dir=${SECRET}/x"])
    assert config.source.url == "/rows/rows.npy"
    assert config.source.columns == ["a", "hunter2"]
    assert config.checkpoint_dir == "hunter2/x"
    written = config.as_dict()
    assert "hunter2" not in str(written)
    assert written["source"]["url"] == "/${BUCKET}/${BUCKET}.npy"
    assert written["checkpoint"]["dir"] == "${SECRET}/x"
    again = load(write(written), FitConfig)
    assert again == config
    assert again.model_copy(update={"model": {}}).source.as_dict() == written["source"]


def test_a_tilde_is_expanded_in_a_list_of_urls(write, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    source = load(write({**FIT, "source": {"url": ["~/a.npy", "b.npy"]}}), FitConfig).source
    assert source.url == source.urls == ["/home/somebody/a.npy", "b.npy"]


def test_options_of_a_store_stay_references_when_saved(write, monkeypatch):
    monkeypatch.setenv("S3_SECRET", "hunter2")
    options = {"key": "me", "secret": "${S3_SECRET}", "client_kwargs": {"region_name": "x"}}
    source = {"url": "s3://bucket/rows.npy", "storage_options": options}
    config = load(write({**FIT, "source": source}), FitConfig)
    assert config.source.storage_options == {**options, "secret": "hunter2"}
    assert config.as_dict()["source"]["storage_options"] == options


@pytest.mark.parametrize("url", ["out/*.parquet", ["a.npy", "out/labels.parquet"]])
def test_a_run_does_not_overwrite_one_of_several_sources(write, url):
    path = write({"source": {"url": url}, "output": {"dir": "out"}})
    with pytest.raises(ConfigError, match="holds the input data"):
        load(path, FitConfig)


@pytest.mark.parametrize(
    ("value", "folder"),
    [
        ("results/", "results"),
        ("/a/b//", "/a/b"),
        ("/", "/"),
        ("file:///a%20b/c", "/a b/c"),
        ("s3://bucket/run/", "s3://bucket/run"),
        ("memory://", "memory://"),
    ],
)
def test_a_folder_of_results_is_a_path_or_a_url(write, value, folder):
    config = load(write(FIT), FitConfig, [f"output.dir={value}"])
    assert config.output.dir == folder
    assert config.output.path("model.npz").removeprefix(folder).lstrip("/") == "model.npz"
