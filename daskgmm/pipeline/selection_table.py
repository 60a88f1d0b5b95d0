"""The models that were compared, as a file and on the terminal."""

from typing import Any

import numpy as np
from rich.table import Table

from daskgmm.select import ComponentSelection

# Columns of the terminal, and how a number stands in each.
SHOWN = {
    "log_likelihood": "{:,.5f}",
    "aic": "{:,.0f}",
    "bic": "{:,.0f}",
    "icl": "{:,.0f}",
    "held_out": "{:,.5f}",
    "smallest": "{:,.0f}",
    "passes": "{:d}",
}

# What is estimated where a model was not fitted to all rows.
ESTIMATED = ("log_likelihood", "aic", "bic", "icl")


def csv(found: ComponentSelection) -> str:
    """A line for each model, with its smallest component's rows in place of all counts."""
    text: str = _frame(found).to_csv(index=False)
    return text


def table(found: ComponentSelection) -> Table:
    """The same to be read: estimates with a ~, the choice in bold."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("covariance", "components", *(name.replace("_", "-") for name in SHOWN)):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("outcome", no_wrap=True)
    for row in _frame(found).to_dict("records"):
        numbers = (
            ("~" if row["estimated"] and name in ESTIMATED else "") + form.format(row[name])
            for name, form in SHOWN.items()
        )
        outcome = "chosen" if row["chosen"] else row["outcome"].partition(":")[0]
        shown.add_row(
            row["covariance_type"],
            str(row["n_components"]),
            *numbers,
            outcome,
            style="bold" if row["chosen"] else None,
        )
    return shown


def sentence(found: ComponentSelection) -> str:
    """What was chosen, and how many readings the models have shared."""
    frame, best = found.to_frame(), found.best
    plural = "" if best.n_components == 1 else "s"
    size = f"{best.n_components} component{plural}"
    return (
        f"{best.covariance_type}, {size}: chosen by {found.criterion} of "
        f"{len(frame)} models, which shared {found.n_passes_} readings of the data ("
        f"{frame['passes'].sum()}, had each made its own)"
    )


def _frame(found: ComponentSelection) -> Any:
    frame = found.to_frame()
    smallest = [float(np.min(counts)) for counts in frame.pop("effective_counts")]
    frame.insert(list(frame.columns).index("passes"), "smallest", smallest)
    return frame
