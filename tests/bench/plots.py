#!/usr/bin/env python3
"""Draws the plots of docs/benchmarks.md: plots.py FIGURES.json FOLDER. Needs matplotlib."""
import json
import pathlib
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402
import matplotlib.ticker  # noqa: E402

import workloads as table  # noqa: E402
from report import Figures, number  # noqa: E402

COLOURS = dict(zip((one.name for one in table.CONTESTANTS),
                   ("#0b6e4f", "#c44536", "#e8998d", "#7d1d3f", "#b07d9b", "#3066be", "#8fb8ed", "#444444", "#999999")))
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "millrace", "font.size": 9,
                            "axes.spines.top": False, "axes.spines.right": False})


def marks(axes, figures, groups, field, is_log):
    """The median of each contestant for each (workload's name, label), with a whisker from minimum to maximum.

    Bars on a linear axis; dots on a logarithmic one, where the length of a bar would mean nothing.
    """
    used = []
    slots = max((len(figures.contestants(workload)) for workload, _ in groups), default=1)
    width = 0.85 / slots
    is_crowded = slots * len(groups) > 20
    for position, (workload, _) in enumerate(groups):
        contestants = [one for one in figures.contestants(workload) if figures.values(one.name, workload, field)]
        for i, one in enumerate(contestants):
            values = figures.values(one.name, workload, field)
            middle = figures.median(one.name, workload, field)
            at = position + width * (i + 0.5 - len(contestants) / 2)
            if is_log:
                axes.plot(at, middle, "o", markersize=6, color=COLOURS[one.name])
            else:
                axes.bar(at, middle, width * 0.95, color=COLOURS[one.name])
            axes.errorbar(at, middle, [[middle - values[0]], [values[-1] - middle]], linewidth=0.8,
                          color=COLOURS[one.name] if is_log else "black")
            axes.annotate(number(middle), (at, values[-1]), xytext=(0, 6 if is_crowded else 4),
                          textcoords="offset points", ha="center", fontsize=6, rotation=90 if is_crowded else 0)
            used.append(one)
    axes.set_xticks(range(len(groups)), [label for _, label in groups])
    axes.set_xlim(-0.55, max(1, len(groups)) - 0.45)
    return used


def legend(figure, contestants):
    handles = [plt.Rectangle((0, 0), 1, 1, color=COLOURS[one.name]) for one in contestants]
    figure.legend(handles, [one.title for one in contestants], loc="outside lower center", ncols=3, frameon=False)


def save(figure, path):
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def groups_of(prefix, *kinds):
    return [(prefix + workload.name, workload.title.replace(", ", "\n").replace(" of ", "\nof "))
            for workload in table.WORKLOADS if workload.kind in kinds]


def panels(figures, path, rows):
    """One plot under the other; rows of (title, groups, field, is_log)."""
    figure, all_axes = plt.subplots(len(rows), 1, figsize=(9, 2.6 * len(rows) + 0.7), layout="constrained")
    used = []
    for axes, (title, groups, field, is_log) in zip(all_axes, rows):
        present = [group for group in groups if figures.contestants(group[0])]
        if is_log:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
            axes.margins(y=0.3)
        used += marks(axes, figures, present, field, is_log)
        axes.set_title(title, loc="left")
        axes.grid(axis="y", linewidth=0.3)
    legend(figure, [one for one in table.CONTESTANTS if one in used])
    save(figure, path)


def main():
    source, folder = map(pathlib.Path, sys.argv[1:])
    figures = Figures(json.loads(source.read_text(encoding="utf-8")))
    produce, read = groups_of("", "produce"), groups_of("read-", "produce")
    rate = groups_of("", "rate")
    panels(figures, folder / "throughput.svg", [
        ("Produce, MB/s", produce, "megabytes_per_second", False),
        ("Catch-up read, MB/s", read, "megabytes_per_second", False)])
    panels(figures, folder / "cpu.svg", [
        ("Produce, CPU seconds of all brokers per GB", produce, "broker_cpu_per_gb", True),
        ("Produce, CPU seconds of the client per GB", produce, "client_cpu_per_gb", True)])
    panels(figures, folder / "latency.svg", [
        ("Acknowledgement, p50 ms", rate, "p50_ms", True), ("p99 ms", rate, "p99_ms", True),
        ("p99.9 ms", rate, "p999_ms", True)])
    panels(figures, folder / "life.svg", [
        ("Longest gap after kill -9 of the leader, ms", [("gap", "")], "gap_ms", True),
        ("Start to first acknowledged record, s", [("start", "")], "start_seconds", True),
        ("Resident MB of the largest broker", [("memory-fresh", "fresh"), ("memory-loaded", "after the load")],
         "resident_mb", True)])


if __name__ == "__main__":
    main()
