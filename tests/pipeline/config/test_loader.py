import pytest

from daskgmm.errors import ConfigError
from daskgmm.pipeline.config.fit import FitConfig
from daskgmm.pipeline.config.loader import read

FIT = """\
source:
  url: x.npy
output: {dir: results}
"""


def told(more, **changes):
    return read((FIT + more).encode(), "fit.yaml", FitConfig, **changes)


@pytest.mark.parametrize(
    "more",
    ["source: {url: y.npy}", "output:\n  dir: elsewhere", "model: {tol: 1, tol: 2}"],
)
def test_a_key_that_stands_twice_is_refused(more):
    key = more.partition(":")[0] if "tol" not in more else "tol"
    with pytest.raises(ConfigError, match=rf"fit.yaml, line 4: the key '{key}' occurs twice"):
        told(more)


def test_what_several_keys_share_may_stand_once():
    merged = "checkpoint: &kept\n  <<: &usual {every: 5}\n  every: 7\n"
    assert told(merged).checkpoint.every == 7
    nested = """\
source: {url: x.npy, storage_options: {base: &base {x: 0}, more: {inner: &a {<<: *base, x: 1}}}}
output: {dir: o}
checkpoint: {<<: {every: 2}}
model: &model {tol: 1}
"""
    config = read(nested.encode(), "fit.yaml", FitConfig)
    assert config.source.storage_options["more"] == {"inner": {"x": 1}}
    assert config.checkpoint.every == 2


def test_a_number_of_the_environment_is_one(monkeypatch):
    monkeypatch.setenv("K", "7")
    monkeypatch.setenv("TYPE", "tied")
    config = told('model: {n_components: "${K}", covariance_type: "${TYPE}"}')
    assert (config.model["n_components"], config.model["covariance_type"]) == (7, "tied")
    assert config.as_dict()["model"]["n_components"] == "${K}"


@pytest.mark.parametrize("text", ["${OD:-xx}", "${}", "a/${A B}/b", "${X"])
def test_what_names_no_variable_is_refused(text):
    with pytest.raises(
        ConfigError, match=r"does not name an environment variable: write \$\{NAME\}"
    ) as caught:
        told(f'checkpoint: {{dir: "{text}"}}')
    assert "fit.yaml, line 4: checkpoint.dir" in str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        "secret",
        "AWS_SECRET_ACCESS_KEY",
        "secretAccessKey",
        "password",
        "pwd",
        "token",
        "account_key",
        "private_key",
        "sas_token",
        "headers.Authorization",
        "token.private_key",
        "connection_string",
    ],
)
def test_a_secret_has_to_be_the_environments(key, monkeypatch):
    def options(value):
        return [f"source.storage_options.{key}={value}"]

    for value in ("abc", "12345", "[abc]"):
        with pytest.raises(ConfigError, match="a secret must not be part of it") as caught:
            told("", changes=options(value))
        assert "abc" not in str(caught.value)
    monkeypatch.setenv("MINE", "abc")
    config = told("", changes=options("${MINE}"))
    assert "abc" in str(config.source.storage_options)
    assert "abc" not in str(config.as_dict())


@pytest.mark.parametrize(
    "url", ["https://me:pw@host/x.npy", "s3://key:abc@bucket/x.npy", "https://host/x.npy?sig=abc"]
)
def test_nor_may_a_url_hold_one(url):
    with pytest.raises(ConfigError, match=r"source.url: a run saves its configuration"):
        told("", changes=[f"source.url={url}"])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("token", "anon"),
        ("token", "/home/me/credentials.json"),
        ("credential", "default"),
        ("key", "abc"),
        ("access_key_id", "abc"),
        ("tokens", "abc"),
        ("endpoint_url", "http://127.0.0.1:9000"),
    ],
)
def test_what_is_no_secret_may_stand_there(key, value):
    config = told("", changes=[f"source.storage_options.{key}={value}"])
    assert config.source.storage_options[key] == value


@pytest.mark.parametrize("value", ["3", "[1]", "abc"])
def test_a_value_where_keys_are_needed_is_said(value):
    with pytest.raises(ConfigError, match="output: must be keys and values, not"):
        told("", changes=[f"output={value}"])
