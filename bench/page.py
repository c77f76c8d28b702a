"""What a run found, as docs/performance.md: table, plot, machine and command, all out of the saved file.

`python -m bench.page [FILE]` takes what `make bench` saved, keeps it as docs/performance.json and draws the page
from that. The words around the numbers stand in page.md.
"""

from __future__ import annotations

import sys
from pathlib import Path
from string import Template

from bench.contestants import ROOT
from bench.figures import Found
from bench.plot import plot
from bench.table import table

SAVED = ROOT / ".bench" / "figures.json"
PAGE, KEPT, PICTURE = "performance.md", "performance.json", "images/performance.svg"
TEXT = Template((Path(__file__).parent / "page.md").read_text())


def main() -> None:
    """Draws the page."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else SAVED
    draw(Found.read(file), ROOT / "docs")


def draw(found: Found, folder: Path) -> None:
    """Writes page, picture and what both were drawn from."""
    (folder / "images").mkdir(exist_ok=True)
    found.save(folder / KEPT)
    (folder / PICTURE).write_text(plot(found.figures))
    (folder / PAGE).write_text(page(found))


def page(found: Found) -> str:
    """The page's Markdown."""
    machine = found.machine
    return TEXT.substitute(
        machine,
        **found.asked,
        kept=KEPT,
        picture=PICTURE,
        command=found.command,
        models=", ".join(f"{name} {millions:.0f}" for name, millions in found.models.items()),
        features=", ".join(machine["features"]) or "none",
        reads=f"{machine['memory_gb_per_s']:.1f}",
        load=machine["load_before"],
        table=table(found.figures),
    )


if __name__ == "__main__":
    main()
