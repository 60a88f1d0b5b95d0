"""Print sizes and imports of the package, for one or more checkouts side by side.

A room is a module or a folder directly in `daskgmm/`. An arrow from one room to another means that
a module of the first imports a module of the second. `__init__` and `__main__` do not count.
"""

import argparse
import importlib
import sys
from pathlib import Path

import grimp

PACKAGE = "daskgmm"
LARGE, SMALL = 450, 60  # lines


def figures(root: Path) -> dict[str, float]:
    """Return the figures of the checkout in a folder, by name."""
    files = sorted((root / PACKAGE).rglob("*.py"))
    modules = [path for path in files if path.stem not in {"__init__", "__main__"}]
    lines = [len(path.read_text().splitlines()) for path in modules]
    in_folder = [path.parent for path in modules]

    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    sys.path.pop(0)
    rooms = graph.find_children(PACKAGE) - {f"{PACKAGE}.__main__"}
    arrows = sum(
        graph.direct_import_exists(importer=a, imported=b, as_packages=True)
        for a in rooms
        for b in rooms - {a}
    )
    circles = sum(
        len(graph.nominate_cycle_breakers(package))
        for package in graph.modules
        if len(graph.find_children(package)) > 1
    )
    return {
        "modules": len(modules),
        "mean lines per module": sum(lines) / len(lines),
        f"modules above {LARGE} lines": sum(count > LARGE for count in lines),
        f"modules below {SMALL} lines": sum(count < SMALL for count in lines),
        "folders": len(set(in_folder)),
        "modules in the fullest folder": max(map(in_folder.count, in_folder)),
        "rooms": len(rooms),
        "imports between modules": graph.count_imports(),
        "arrows between rooms": arrows,
        "imports that close a circle": circles,
    }


def main() -> None:
    """Print one row per figure, with one column per checkout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("roots", nargs="*", type=Path, default=[Path()], help="checkouts")
    roots = [root.resolve() for root in parser.parse_args().roots]
    columns = [figures(root) for root in roots]
    print(" " * 30 + "".join(f"{root.name:>10}" for root in roots))
    for name in columns[0]:
        print(f"{name:30}" + "".join(f"{column[name]:10.0f}" for column in columns))


if __name__ == "__main__":
    main()
