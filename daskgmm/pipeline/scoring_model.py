"""What a model's file says of the rows that it was fitted to."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daskgmm.data.preprocessing.preprocessing import stored_options
from daskgmm.model import model_file
from daskgmm.model.diagnostics import Quantiles
from daskgmm.model.mixture import Mixture

KEY = "rows"


@dataclass(frozen=True)
class ScoringModel:
    """A mixture and its rows.

    Attributes
    ----------
    mixture : Mixture
    columns : names or numbers of the features in the source of the fit, or None for all
    missing : what the fit did about missing values
    recipe : dict
        What `daskgmm.open_dataset` was told of filter and transforms; empty where nothing.
    log_density : Quantiles or None
        Of the rows, under the mixture; None where nobody has said.
    """

    mixture: Mixture
    columns: list[str | int] | None
    missing: str = "raise"
    log_density: Quantiles | None = None
    recipe: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | Path, **storage_options: Any) -> "ScoringModel":
        """From any model file, on a disk or in a store; ModelFileError where it isn't one."""
        mixture, names, about, _ = model_file.read(path, **storage_options)
        with model_file.reading(path):
            rows = about.get(KEY, {})
            recipe = stored_options(about.get("history", {}).get("recipe_", {}))
            if recipe and len(recipe["columns"]) != mixture.n_features:
                raise ValueError("its transforms are of other features")
            return cls(
                mixture,
                recipe["columns"] if recipe else list(names) if names else rows.get("columns"),
                str(rows.get("missing", "raise")),
                Quantiles.read(rows["log_density"]) if rows.get("log_density") else None,
                recipe,
            )

    def note(self, path: str | Path) -> None:
        """Write into the mixture's own file, which is there, what is known of its rows."""
        saved = model_file.read(path)
        rows = {
            "columns": self.columns,
            "missing": self.missing,
            "log_density": self.log_density and self.log_density.as_written(),
        }
        about = {**saved.about, KEY: rows}
        model_file.write(path, model_file.to_bytes(saved.mixture, saved.columns, about))
