"""Covariance families. `FAMILIES` maps names to families."""

from dataclasses import asdict, replace
from typing import Any

from daskgmm.model.covariance.diagonal import Diag, Spherical
from daskgmm.model.covariance.family import Family
from daskgmm.model.covariance.full import Full
from daskgmm.model.covariance.tied import Tied

FAMILIES: dict[str, Family] = {
    family.name: family for family in (Full(), Tied(), Diag(), Spherical())
}

__all__ = ["FAMILIES", "Family", "family_from_tag", "tag_of_family"]


def tag_of_family(family: Family) -> str | list[Any]:
    """Return the encoding of a family in files: its name, with hyperparameters if it has any."""
    hyperparameters = asdict(family)
    return [family.name, hyperparameters] if hyperparameters else family.name


def family_from_tag(tag: str | list[Any]) -> Family:
    """Return the family that `tag_of_family` describes; KeyError for an unknown name."""
    if isinstance(tag, str):
        return FAMILIES[tag]
    name, hyperparameters = tag
    return replace(FAMILIES[name], **hyperparameters)
