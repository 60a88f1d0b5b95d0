import json
from pathlib import Path

import pytest

from daskgmm.errors import ConfigError, DataError
from daskgmm.pipeline.progress.json_log import json_log


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def test_events_are_appended_to_those_of_earlier_runs(tmp_path):
    path = tmp_path / "a log.jsonl"
    for command in ("fit", "resume"):
        with json_log(path, command) as log:
            log("survey", {"n_rows": 3})
            assert lines(path)[-1]["n_rows"] == 3  # at once
    found = lines(path)
    assert [each["event"] for each in found] == ["begin", "survey"] * 2
    assert [each.get("command") for each in found[::2]] == ["fit", "resume"]
    assert all(each["time"].endswith("+00:00") for each in found)


@pytest.mark.parametrize("error", [DataError("chunk 3\nis bad"), KeyboardInterrupt()])
def test_the_last_event_is_the_error_that_stops_a_run(tmp_path, error):
    path = tmp_path / "log"
    with pytest.raises(type(error)), json_log(path, "fit"):
        raise error
    last = lines(path)[-1]
    assert (last["event"], last["error"]) == ("stopped", type(error).__name__)
    assert last["sentence"] == " ".join(str(error).split())


def test_an_incomplete_line_of_a_killed_run_keeps_its_own_line(tmp_path):
    path = tmp_path / "log"
    with json_log(path, "fit"):
        pass
    with path.open("a") as file:
        file.write('{"time": "2026')
    with json_log(path, "fit"):
        pass
    cut, last = path.read_text().splitlines()[1:]
    assert cut == '{"time": "2026'
    assert json.loads(last)["event"] == "begin"


def test_a_file_that_is_not_a_log_is_not_changed(tmp_path):
    path = tmp_path / "rows.npy"
    path.write_bytes(b"\x93NUMPY and more")
    with (
        pytest.raises(ConfigError, match=r"rows\.npy is not a log of daskgmm"),
        json_log(path, "fit"),
    ):
        pass
    assert path.read_bytes() == b"\x93NUMPY and more"


@pytest.mark.parametrize("name", ["", "absent/log"])
def test_an_error_names_a_log_that_cannot_be_written(tmp_path, name):
    with (
        pytest.raises(ConfigError, match="--log-json: cannot write to"),
        json_log(tmp_path / name, "fit"),
    ):
        pass


def test_a_full_disk_ends_the_log_but_not_the_run():
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("Linux's")
    with pytest.warns(UserWarning, match="cannot write to the log"), json_log(full, "fit") as log:
        log("survey", {})
