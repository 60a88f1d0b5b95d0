"""The model file for `daskgmm score`: a mixture, and facts about the rows of its fit."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daskgmm.data.preprocessing.preprocessing import stored_options
from daskgmm.model import model_file
from daskgmm.model.mixture import Mixture
from daskgmm.model.row_scores import Quantiles

# Entry of the model file's header.
KEY = "rows"


@dataclass(frozen=True)
class ScoringModel:
    """A mixture and facts about the rows that it was fitted to.

    Attributes
    ----------
    mixture : Mixture
    columns : list of str or int, or None
        Names or numbers of the features in the source of the fit; None means all columns.
    missing : str
        How the fit treated missing values.
    log_density : Quantiles or None
        Distribution of the rows' log-densities under the mixture; None if it is unknown.
    recipe : dict
        Arguments of `daskgmm.open_dataset` for the filter and the transforms; may be empty.
    """

    mixture: Mixture
    columns: list[str | int] | None
    missing: str = "raise"
    log_density: Quantiles | None = None
    recipe: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | Path, **storage_options: Any) -> "ScoringModel":
        """Read any model file, from a disk or a store; raise ModelFileError if it is not one."""
        mixture, names, about, _ = model_file.read(path, **storage_options)
        with model_file.file_errors(path):
            rows = about.get(KEY, {})
            recipe = stored_options(about.get("history", {}).get("recipe_", {}))
            if recipe and len(recipe["columns"]) != mixture.n_features:
                raise ValueError("its transforms do not match its number of features")
            return cls(
                mixture,
                recipe["columns"] if recipe else list(names) if names else rows.get("columns"),
                str(rows.get("missing", "raise")),
                Quantiles.from_dict(rows["log_density"]) if rows.get("log_density") else None,
                recipe,
            )

    def add_to_file(self, path: str | Path) -> None:
        """Add the facts about the rows to the existing file of the mixture."""
        saved = model_file.read(path)
        rows = {
            "columns": self.columns,
            "missing": self.missing,
            "log_density": self.log_density and self.log_density.to_dict(),
        }
        about = {**saved.about, KEY: rows}
        model_file.write(path, model_file.to_bytes(saved.parameters, saved.columns, about))
