"""List the settings that ship with the package, or print one.

pumlc recipes
pumlc recipes csv_lite0_cpu > mine.yaml
pumlc train --config csv_lite0_cpu ...
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pumlc.cli.options import argument, parse_options
from pumlc.recipes import recipe_file, recipes
from pumlc.tables import table


@dataclass(frozen=True)
class RecipesOptions:
    """The command line of ``pumlc recipes``."""

    name: str | None = argument("print the file of this recipe", nargs="?")


def main(arguments: Sequence[str] | None = None) -> None:
    """List recipes, or print one."""
    options = parse_options(RecipesOptions, arguments, program="pumlc recipes", about=__doc__ or "")
    if options.name is not None:
        print(recipe_file(options.name).read_text("utf-8"), end="")
        return
    rows = [[recipe.name, recipe.claim, recipe.hardware, recipe.time] for recipe in recipes()]
    print(table(["recipe", "claim", "hardware", "time"], rows))
    print(
        "Use a recipe: pumlc train --config RECIPE ..., or pumlc sweep --config sweeps/RECIPE ..."
    )
