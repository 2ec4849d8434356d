"""Draw plots with matplotlib, to test with: bars, contour lines, curves with a legend, a polar plot.

    pip install matplotlib && python tools/make_plots.py plots/ [--count 4]

The same number always gives the same data. They are 1024x1024 pixels.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SIDE_PX, DOTS_PER_INCH = 1024, 160

Random = np.random.Generator


def bars(axes: Axes, random: Random) -> None:
    """Grouped bars with error bars."""
    places, groups = np.arange(6), 3
    for group in range(groups):
        heights, errors = random.uniform(2, 9, 6), random.uniform(0.2, 0.9, 6)
        axes.bar(places + group / 4, heights, 0.25, yerr=errors, capsize=3, label=f"series {group + 1}")
    axes.set_xticks(places + 0.25, ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat"])
    axes.legend()


def contours(axes: Axes, random: Random) -> None:
    """Filled contours with labelled lines."""
    x, y = np.meshgrid(np.linspace(-3, 3, 200), np.linspace(-3, 3, 200))
    height = sum(a * np.exp(-((x - b) ** 2 + (y - c) ** 2)) for a, b, c in random.uniform(-2, 2, (9, 3)))
    axes.contourf(x, y, height, 9, cmap="terrain", alpha=0.8)
    axes.clabel(axes.contour(x, y, height, 9, colors="black", linewidths=0.7), fontsize=6)


def curves(axes: Axes, random: Random) -> None:
    """Curves, markers and shaded bands over a grid."""
    x = np.linspace(0, 10, 40)
    for line, marker in zip(("-", "--", "-.", ":"), "os^x", strict=True):
        y = np.cumsum(random.normal(0, 1, 40))
        axes.plot(x, y, line, marker=marker, markersize=4, linewidth=1, label=f"run {marker}")
        axes.fill_between(x, y - 0.8, y + 0.8, alpha=0.2)
    axes.grid(True, linewidth=0.4)
    axes.set(xlabel="time [s]", ylabel=r"amplitude $\sqrt{x^2 + y^2}$", title="Measured")
    axes.legend(fontsize=7)


def scatter(axes: Axes, random: Random) -> None:
    """Circles of many sizes with names and arrows."""
    x, y = random.uniform(0, 10, (2, 40))
    axes.scatter(x, y, random.uniform(10, 400, 40), random.uniform(0, 1, 40), alpha=0.6, edgecolors="black")
    for index in range(0, 40, 4):
        axes.annotate(
            f"P{index}",
            (x[index], y[index]),
            (x[index] + 0.5, y[index] + 0.7),
            arrowprops={"arrowstyle": "->"},
        )


KINDS = (bars, contours, curves, scatter)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("target", type=Path)
    parser.add_argument("--count", type=int, default=4)
    arguments = parser.parse_args()
    arguments.target.mkdir(parents=True, exist_ok=True)
    inches = SIDE_PX / DOTS_PER_INCH
    for number in range(arguments.count):
        figure = Figure((inches, inches), DOTS_PER_INCH)
        kind = KINDS[number % len(KINDS)]
        kind(figure.add_subplot(), np.random.default_rng(number))
        figure.savefig(arguments.target / f"plot-{kind.__name__}-{number:03}.png")
    print(f"{arguments.count} plots in {arguments.target}")


if __name__ == "__main__":
    main()
