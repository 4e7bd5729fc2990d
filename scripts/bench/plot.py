"""Draws the ratios in bench.json with their ranges and targets: plot.py FILE PICTURE.

It runs in matplotlib's environment, and otherwise needs only the standard library.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.results import Row
from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, NullFormatter

MET, MISSED, INK, LIGHT = "#1a7f5a", "#c2410c", "#24292f", "#d0d7de"
MARKERS = ("o", "D")


def main() -> int:
    """Read the file, draw it, and write the picture."""
    results = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    lines = sorted(results, key=int, reverse=True)
    versions = {line: list(results[line].values())[-1]["mitmproxy"] for line in lines}
    quick = any(one["quick"] for line in lines for one in results[line].values())
    found: dict[str, dict[str, Row]] = {}
    for line in lines:
        for one in results[line].values():
            for row in (Row(**kept) for kept in one["rows"]):
                if row.unit == "x" and row.values and row.sense:
                    found.setdefault(f"{row.name}\nagainst {row.against}", {})[line] = row
    if not found:
        print("no ratios to plot yet", file=sys.stderr)
        return 0
    draw(found, versions, quick).savefig(sys.argv[2], dpi=110)
    return 0


def draw(found: dict[str, dict[str, Row]], versions: dict[str, str], quick: bool) -> plt.Figure:
    """Draw a line for each ratio; right of 1 is more, and a bracket shows the target."""
    # With its own background, so that it is readable on light and on dark pages.
    style = {"font.size": 9, "font.family": "sans-serif", "text.color": INK}
    style |= {"axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK}
    plt.rcParams.update(style | {"figure.facecolor": "white", "axes.facecolor": "white"})
    figure, axes = plt.subplots(figsize=(9, 1.3 + 0.52 * len(found)), layout="constrained")
    for place, by_line in enumerate(found.values()):
        axes.axhline(place + 0.5, color=LIGHT, lw=0.5, zorder=0)
        for number, line in enumerate(versions):
            if line not in by_line:
                continue
            row = by_line[line]
            y = place + (number - (len(versions) - 1) / 2) * 0.34
            colour = MET if row.met else MISSED
            axes.plot([min(row.values), max(row.values)], [y, y], color=colour, lw=2.5, alpha=0.45)
            axes.plot(row.figure, y, MARKERS[number % 2], color=colour, ms=6)
            # The ends of the bracket point to the side on which the target is met.
            ahead = 1.03 if row.sense == ">=" else 1 / 1.03
            xs = [row.limit * ahead, row.limit, row.limit, row.limit * ahead]
            ends = [y - 0.16, y - 0.16, y + 0.16, y + 0.16]
            axes.plot(xs, ends, color=INK, lw=1.3)
            label = f"{row.figure:.2f}x"
            right = max(*row.values, row.limit * ahead)
            style = {"va": "center", "fontsize": 8, "color": colour}
            axes.annotate(label, (right, y), (8, 0), textcoords="offset points", **style)
    axes.axvline(1, color=INK, lw=0.8, ls=":", zorder=0)
    axes.set_yticks(range(len(found)), list(found), linespacing=1.15)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(low, high * 1.25)
    ticks = [tick for tick in (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 50) if low < tick < high]
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(length=0, which="both")
    for side in axes.spines.values():
        side.set_visible(False)
    title = "QUICK RUN, not for publication" if quick else "The proxy, side by side with others"
    figure.suptitle(title, x=0.02, ha="left", fontsize=12, fontweight="bold", color=INK)
    handles = [
        plt.Line2D([], [], ls="", marker=MARKERS[number % 2], color=INK, label=f"mitmproxy {name}")
        for number, name in enumerate(versions.values())
    ]
    handles += [
        plt.Line2D([], [], color=INK, lw=1.3, marker="$[$", ls="", label="target, open where met"),
        plt.Line2D([], [], color=MET, lw=3, label="met"),
        plt.Line2D([], [], color=MISSED, lw=3, label="missed"),
    ]
    figure.legend(
        handles=handles, loc="outside lower left", ncols=len(handles), frameon=False, fontsize=8
    )
    return figure


if __name__ == "__main__":
    sys.exit(main())
