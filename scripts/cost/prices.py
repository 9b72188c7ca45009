"""The price list of a region, from prices/<region>.toml: dated, each price with its source."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass

from bootstrap.errors import BootstrapError
from bootstrap.paths import ROOT

FOLDER = ROOT / "prices"


@dataclass(frozen=True, slots=True)
class Price:
    usd: float
    """Of one."""
    per: int
    """How many AWS names it for."""
    source: str


@dataclass(frozen=True, slots=True)
class Prices:
    region: str
    date: str
    of: Mapping[str, Price]

    def usd(self, counts: Mapping[str, float]) -> float:
        """Of so many of each; names are those of the file."""
        return sum(self.of[name].usd * count for name, count in counts.items())


def read(region: str) -> Prices:
    """
    Raises:
        BootstrapError: there is no list for that region.
    """
    path = FOLDER / f"{region}.toml"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in FOLDER.glob("*.toml")))
        raise BootstrapError(f"There is no price list for {region!r}; there are: {known}.", f"Write {path.name}.")
    found = tomllib.loads(path.read_text())
    return Prices(
        found["region"],
        found["date"],
        {
            name: Price(entry["usd"] / entry["per"], entry["per"], entry["source"])
            for name, entry in found.items()
            if isinstance(entry, dict)
        },
    )
