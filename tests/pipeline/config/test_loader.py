import pytest

from daskgmm.errors import ConfigError
from daskgmm.pipeline.config.fit import FitConfig
from daskgmm.pipeline.config.loader import read

FIT = """\
source:
  url: x.npy
output: {dir: results}
"""


def load_with(more, **changes):
    return read((FIT + more).encode(), "fit.yaml", FitConfig, **changes)


@pytest.mark.parametrize(
    "more",
    ["source: {url: y.npy}", "output:\n  dir: elsewhere", "model: {tol: 1, tol: 2}"],
)
def test_a_repeated_key_is_refused(more):
    key = more.partition(":")[0] if "tol" not in more else "tol"
    with pytest.raises(ConfigError, match=rf"fit.yaml, line 4: the key '{key}' occurs twice"):
        load_with(more)


def test_keys_may_share_values_by_an_alias():
    merged = "checkpoint: &kept\n  <<: &usual {every: 5}\n  every: 7\n"
    assert load_with(merged).checkpoint.every == 7
    nested = """\
source: {url: x.npy, storage_options: {base: &base {x: 0}, more: {inner: &a {<<: *base, x: 1}}}}
output: {dir: o}
checkpoint: {<<: {every: 2}}
model: &model {tol: 1}
"""
    config = read(nested.encode(), "fit.yaml", FitConfig)
    assert config.source.storage_options["more"] == {"inner": {"x": 1}}
    assert config.checkpoint.every == 2


def test_an_environment_variable_may_be_a_number(monkeypatch):
    monkeypatch.setenv("K", "7")
    monkeypatch.setenv("TYPE", "tied")
    config = load_with('model: {n_components: "${K}", covariance_type: "${TYPE}"}')
    assert (config.model["n_components"], config.model["covariance_type"]) == (7, "tied")
    assert config.as_dict()["model"]["n_components"] == "${K}"


@pytest.mark.parametrize("text", ["${OD:-xx}", "${}", "a/${A B}/b", "${X"])
def test_a_wrong_reference_to_a_variable_is_refused(text):
    with pytest.raises(
        ConfigError, match=r"does not name an environment variable: write \$\{NAME\}"
    ) as caught:
        load_with(f'checkpoint: {{dir: "{text}"}}')
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
def test_a_secret_must_come_from_the_environment(key, monkeypatch):
    def options(value):
        return [f"source.storage_options.{key}={value}"]

    for value in ("abc", "12345", "[abc]"):
        with pytest.raises(ConfigError, match="a secret must not be part of it") as caught:
            load_with("", changes=options(value))
        assert "abc" not in str(caught.value)
    monkeypatch.setenv("MINE", "abc")
    config = load_with("", changes=options("${MINE}"))
    assert "abc" in str(config.source.storage_options)
    assert "abc" not in str(config.as_dict())


@pytest.mark.parametrize(
    "url", ["https://me:pw@host/x.npy", "s3://key:abc@bucket/x.npy", "https://host/x.npy?sig=abc"]
)
def test_a_secret_in_a_url_is_refused(url):
    with pytest.raises(ConfigError, match=r"source.url: a run saves its configuration"):
        load_with("", changes=[f"source.url={url}"])


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
def test_public_values_of_secret_keys_are_accepted(key, value):
    config = load_with("", changes=[f"source.storage_options.{key}={value}"])
    assert config.source.storage_options[key] == value


@pytest.mark.parametrize("value", ["3", "[1]", "abc"])
def test_a_value_in_place_of_keys_is_refused(value):
    with pytest.raises(ConfigError, match="output: must be keys and values, not"):
        load_with("", changes=[f"output={value}"])
