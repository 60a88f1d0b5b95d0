"""Families of covariance matrices; `FAMILIES` is where a string becomes one."""

from daskgmm.model.covariance.diagonal import Diag, Spherical
from daskgmm.model.covariance.family import Family
from daskgmm.model.covariance.full import Full
from daskgmm.model.covariance.tied import Tied

FAMILIES: dict[str, Family] = {
    family.name: family for family in (Full(), Tied(), Diag(), Spherical())
}

__all__ = ["FAMILIES", "Family"]
