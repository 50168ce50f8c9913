"""Makes the Markdown of a record, from nothing but the record: one table after another.

Not here: tables of optimal transport (transport_tables.py), figures as text (text.py), reading and
writing (results.py), plots (plot.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import transport_tables
from benchmarks.figures import exponent, quotient
from benchmarks.internals import format_bytes, format_seconds
from benchmarks.peer import OWN_PROMISES
from benchmarks.text import figure, median, share, span, table, tera, whole, yes

Record = dict[str, Any]
Section = dict[str, Any]
Row = dict[str, Any]

HEADINGS = {
    "compare": (
        "Peers on the same problem",
        "Time relative to gtn_label, and speed relative to the sgemm floor, are medians of ratios "
        "within a round. Peak memory is that of the whole process: interpreter, libraries, inputs "
        "and work.",
    ),
    "datasets": (
        "gtn_label on every data set",
        "Time relative to isotropic data of the same shape, within a round.",
    ),
    "scaling": ("Growing n", "Median seconds, and the exponent fitted to log time over log n."),
    **transport_tables.HEADINGS,
    "throughput": (
        "Throughput",
        "Pairs a second: n over the median seconds from arrays in memory, or on the device where a "
        "row says so, to an assignment on the host. Answers were checked first.",
    ),
    "targets": (
        "Targets",
        "Figures are medians of ratios within a round, least and largest in brackets.",
    ),
}
STRIDE = 32  # the cuda backend pads rows of codes to multiples of it
CLEARLY_SHORTER = 0.99  # of this project's mean squared distance
CLEARLY_SMOOTHER = 0.01  # more R², which comes from a sample of a few thousand rows
OTHERS_WIN = """
## Where others win

Algorithm 1 makes cosines large, one source after another. Optimal transport is another aim. The
time of Algorithm 1 is exact work that grows with n², unless a bound lets the engine skip some. This
section lists every peer of the comparison or of the scaling that was faster, or whose pairs were
shorter or smoother. Shorter or smoother pairs alone make no better generator: no single figure here
predicts one, so measure the generator.

"""


def document(record: Record, picture: str) -> str:
    """Return the whole document; ``picture`` is the file name of the plot, empty for none."""
    runs, sections = record["runs"], record["sections"]
    text = "# Benchmark results\n" + "".join(map(circumstances, runs))
    text += f"\n**{record['ended']}.**\n" if record["ended"] else ""
    text += f"\n![the figures of the tables]({picture})\n" if picture else ""
    for kind, (title, remark) in HEADINGS.items():
        mine = [section for section in sections if section["kind"] == kind]
        if not mine:
            continue
        text += f"\n## {title}\n\n{remark}\n"
        if mine[0].get("scale", 1) != 1:
            text += f"\n**Every n was multiplied by {mine[0]['scale']:g}: a trial.**\n"
        text += "\n" + targets_table(mine, runs) if kind == "targets" else ""
        for section in mine:
            if section.get("rows"):
                commit = f" (commit {commit_of(section, runs)})" if len(runs) > 1 else ""
                text += f"\n### {section['title']}{commit}\n\n{TABLES[kind](section)}"
    return text + others_win([s for s in sections if s["kind"] in ("compare", "scaling")])


def circumstances(run: Record) -> str:
    """Return command, machine, versions, commit and date of a run."""
    changed = " with changes" if run["changed_since_commit"] else ""
    versions = ", ".join(
        f"{name} {version}" for name, version in run["versions"].items() if version
    )
    gpu = f"{run['gpu']}, " if run.get("gpu") else ""
    load = run["load_average"]
    return (
        f"\n`{run['command']}`\n\n"
        f"{run['processor']}, {run['cores']} cores, {gpu}{run['system']}, Python "
        f"{run['python']}, {versions}; commit {run['commit'][:12] or 'unknown'}{changed}; "
        f"{run['date']}{'' if load is None else f'; load average at the start {load:.1f}'}.\n"
    )


def commit_of(section: Section, runs: Sequence[Record]) -> str:
    """Return the commit that a section was measured at."""
    return runs[section.get("run", 0)]["commit"][:12] or "unknown"


# --- Comparison and targets ----------------------------------------------------------------------


def compared(section: Section) -> str:
    """Return floors, times and pairs of a contest."""
    rows, kind = section["rows"], section["kind"]
    first, ratio = ("data", "× isotropic") if kind == "datasets" else ("peer", "× gtn_label")
    if kind == "targets":
        rows = [{**row, "title": f"{row['title']}: {problem(row)}"} for row in rows]
        ratio = "× the first of its kind"
    elif kind == "datasets":
        rows = [{**row, "title": row["data"]} for row in rows]
    text = floors(section) + "\n" + times(rows, first, ratio)
    # Pairs are beside the point of targets; the JSON has them.
    return text if kind == "targets" else text + "\n" + pairs(rows, first) + losses(rows)


def problem(row: Row) -> str:
    """Name the problem of a row."""
    return f"{row['n']:,} × {row['dim']}, {row['data']}"


def floors(section: Section) -> str:
    """Return one line a floor: its time, and the settings that reached it."""
    lines = []
    for floor in section["floors"]:
        if floor["seconds"] is None:
            continue
        n, dim, block, seconds = (
            floor["n"],
            floor["dim"],
            floor["block"],
            floor["seconds"]["median"],
        )
        lines.append(
            f"sgemm floor of {n:,} × {dim}: {format_seconds(seconds)} "
            f"({n * n * dim / seconds / 1e9:.0f} Gflop/s, blocks of {block[0]:,} × {block[1]:,}, "
            f"OpenBLAS core type {floor['core_type'] or 'chosen by itself'}, "
            f"{floor['threads']} threads).\n"
        )
    return "\n".join(lines)


def times(rows: Sequence[Row], first: str, ratio: str) -> str:
    """Return times and their costs; the column ``first`` differs from row to row."""
    head = [first, "seconds: median (min to max)", "runs", "threads", "CPU seconds", "peak memory"]
    head += [ratio, "× sgemm floor", "of int8 rate", "note"]
    lines = []
    for row in rows:
        if row["seconds"] is None:
            lines.append([row["title"], *["–"] * (len(head) - 2), row["note"]])
            continue
        rate = row["int8_ratio"] and 100 * row["int8_ratio"]["median"]
        runs = sum(run is not None for run in row["seconds"]["runs"])
        cells = [row["title"], span(row["seconds"]), str(runs), str(row["threads"])]
        cells += [median(row["cpu_seconds"]), format_bytes(row["peak_bytes"])]
        cells += [median(row["ratio"]) if row["against"] else "1", median(row["sgemm_ratio"])]
        lines.append([*cells, figure(rate, 2, " %" if rate else ""), row["note"]])
    return table(head, lines)


def pairs(rows: Sequence[Row], first: str) -> str:
    """Return the figures of the pairs of every checked answer."""
    head = [first, "one-to-one", "identical", "mean cosine", "last decile", "mean ‖y − x‖²"]
    head += ["Spearman of norms", "10-NN R²", "same twice"]
    lines = []
    for row in rows:
        if (quality := row["quality"]) is None:
            continue
        cells = [row["title"], yes(quality["one_to_one"]), share(quality["identical"])]
        for key in ("mean_cosine", "last_decile_cosine", "mean_squared_distance"):
            cells.append(figure(quality[key], 4))
        cells += [figure(quality["norm_correlation"], 2), figure(quality["learnability"])]
        lines.append([*cells, yes(row["same_twice"])])
    return table(head, lines)


def losses(rows: Sequence[Row]) -> str:
    """Return the losses of approximate search, as reported and by the oracle; empty without any."""
    lines = []
    for row in rows:
        if loss := row.get("loss"):
            told = [f"{loss['sample']:,}", share(loss["other_latent"]), figure(loss["cosine_lost"])]
            found = [share(loss["other_latent_checked"]), figure(loss["cosine_lost_checked"])]
            lines.append([row["title"], row["note"], *told, f"{loss['checked']:,}", *found])
    head = ["peer", "index", "choices it tells of", "not the exact one", "mean cosine lost"]
    head += ["choices the oracle made", "not the exact one", "mean cosine lost"]
    return "\n" + table(head, lines) if lines else ""


def targets_table(sections: Sequence[Section], runs: Sequence[Record]) -> str:
    """Return all lines of all contests, the misses among them."""
    several = len(runs) > 1
    lines = []
    for section in sections:
        for line in section.get("lines", ()):
            wanted, result = "reported", line["result"]
            if line["limit"]:
                wanted = f"{'≥' if line['at_least'] else '<'} {figure(line['limit'])}"
            elif result == "pass":
                result = "–"
            cells = [line["work"], line["measures"], wanted, span(line["figure"]), result]
            cells += [line["note"], *([commit_of(section, runs)] if several else [])]
            lines.append(cells)
    head = ["work", "figure", "target", "measured", "result", "note"]
    return table([*head, *(["commit"] if several else [])], lines)


# --- Scaling -------------------------------------------------------------------------------------


def scaled(section: Section) -> str:
    """Return median seconds of each peer at each n, its exponent, and notes of absent rows."""
    rows = section["rows"]
    sizes = sorted({row["n"] for row in rows})
    lines, notes = [], []
    for name in dict.fromkeys(row["peer"] for row in rows):
        mine = {row["n"]: row for row in rows if row["peer"] == name}
        title = next(iter(mine.values()))["title"]
        fitted = exponent([(n, r["seconds"]["median"]) for n, r in mine.items() if r["seconds"]])
        cells = [
            median(mine[n]["seconds"]) + ("*" if mine[n]["estimated"] else "") if n in mine else "–"
            for n in sizes
        ]
        lines.append([title, *cells, "–" if fitted is None else f"{fitted:.2f}"])
        absent = {row["note"] for row in mine.values() if not row["seconds"] and row["note"]}
        notes += [f"- {title}: {note}\n" for note in sorted(absent)]
    text = table(["peer", *(f"n = {n:,}" for n in sizes), "exponent"], lines)
    if any(row["estimated"] for row in rows):
        text += "\n\\* estimated from a part of the sources.\n"
    return text + ("\n" + "".join(notes) if notes else "")


# --- Throughput ----------------------------------------------------------------------------------


def rates(section: Section) -> str:
    """Return the tables of the throughput, one a dimension, and the ceilings of a device."""
    rows, device = section["rows"], section.get("device", {})
    limit, budget = format_seconds(section["limit"]), format_seconds(section["budget"])
    parts = [
        f"Limit of a row: {limit} (more for a target's). Budget of the whole: {budget}.\n",
        backends(rows),
    ]
    for dim in sorted({row["dim"] for row in rows}):
        found = of_dimension([row for row in rows if row["dim"] == dim])
        parts.append(found and f"#### dim {dim}\n\n{found}")
    return "\n".join(part for part in [*parts, ceilings(device), phases(rows, device)] if part)


def backends(rows: Sequence[Row]) -> str:
    """Return one line a backend: how many problems it ran, or why it is not here."""
    lines = []
    for name in dict.fromkeys(row["peer"] for row in rows):
        mine = [row for row in rows if row["peer"] == name]
        ran, checked = (sum(bool(row[key]) for row in mine) for key in ("seconds", "checked"))
        here = mine[0]["missing"] or f"{ran} of {len(mine)} problems timed, {checked} checked"
        lines.append([mine[0]["title"], here])
    return table(["backend", "here"], lines)


def of_dimension(rows: Sequence[Row]) -> str:
    """Return pairs a second, shares of the int8 rate, ratios, and the reasons of absent rows."""
    sizes = sorted({row["n"] for row in rows})

    def by_size(heading: str, show: Callable[[Row], str]) -> list[str]:
        lines: dict[str, dict[int, str]] = {}
        for row in rows:
            if shown := show(row):
                lines.setdefault(row["title"], {})[row["n"]] = shown
        head = [heading, *(f"n = {n:,}" for n in sizes)]
        cells = ([title, *(line.get(n, "–") for n in sizes)] for title, line in lines.items())
        return [table(head, cells)] if lines else []

    parts = [
        *by_size("pairs a second", of_seconds),
        *by_size("of the kernel's int8 rate, per cent", of_rate),
        *by_size("times the fastest CPU backend", lambda row: over_cpu(row, rows)),
    ]
    notes: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["note"] and not row["missing"]:
            notes.setdefault((row["title"], row["note"]), []).append(f"{row['n']:,}")
    alike: dict[tuple[str, str], list[str]] = {}  # rows that say the same of the same n
    for (title, note), at in notes.items():
        alike.setdefault((" and ".join(at), note), []).append(title)
    said = [f"- {'; '.join(who)}: n = {at}: {note}.\n" for (at, note), who in alike.items()]
    return "\n".join([*parts, *(["".join(said)] if said else [])])


def of_seconds(row: Row) -> str:
    """Return the median pairs a second."""
    return whole(row["pairs_a_second"]["median"]) if row["seconds"] else ""


def of_rate(row: Row) -> str:
    """Return the share of n² · dim / 2 products at the bare kernel's rate.

    A tree, where few dimensions describe the latents, multiplies no codes.
    """
    coded = row["int8_ratio"] and "int8" in row["stats"]["arithmetic"]
    return figure(100 * row["int8_ratio"]["median"], 2) if coded else ""


def over_cpu(row: Row, rows: Sequence[Row]) -> str:
    """Return how many times faster a row on a GPU is than the fastest CPU backend, in rounds."""
    on_gpu = "GPU" in row["title"] or row["stats"].get("backend") == "cuda"
    others = [r for r in rows if r["n"] == row["n"] and r["stats"].get("backend") == "cpu"]
    others = [other for other in others if other["seconds"]]
    if not (on_gpu and row["seconds"] and others):
        return ""
    return median(quotient([row, *others]))


def ceilings(device: Row) -> str:
    """Return the rates of the device, and those of the scan kernels alone beside them."""
    if not device:
        return ""
    if "failed" in device:
        return f"#### The rates of the device\n\nNot measured: {device['failed']}.\n"
    int8, copied = device["int8_operations"], device["copied_bytes"]
    text = (
        f"#### The rates of the device\n\n{device['name']}: {tera(int8)} int8 and "
        f"{tera(device['fp16_operations'])} float16 operations a second in its matrix units (a "
        f"multiply-add is two), {tera(copied)} bytes a second copied within its memory, read and "
        "written. Beside that, the scan kernels alone; padding is no operation.\n\n"
    )
    lines = []
    for one in device["scans"]:
        cells = [f"{one['kernel']}, dim {one['dim']:,}"]
        for rate, most in ((one["operations"], int8), (one["bytes"], copied)):
            cells += [tera(rate), figure(100 * rate / most, 2)]
        lines.append(cells)
    head = ["kernel", "operations a second", "% of the int8 rate", "bytes a second"]
    return text + table([*head, "% of the copy rate"], lines)


def phases(rows: Sequence[Row], device: Row) -> str:
    """Return the engine's own times of the rows on a device, by device events."""
    ran = [row for row in rows if row["seconds"] and row["stats"].get("backend") == "cuda"]
    if not ran:
        return ""
    names = list(dict.fromkeys(name for row in ran for name in row["stats"]["seconds"]))
    lines = []
    for row in ran:
        stats = row["stats"]
        kernel = stats["instruction_set"] if stats["scan_products"] else "–"
        cells = [f"{row['title']}: {row['n']:,} × {row['dim']}", kernel, span(row["seconds"])]
        cells += [figure(stats["seconds"].get(name)) for name in names]
        lines.append([*cells, scanned(row, device)])
    return (
        "#### Seconds on the device\n\nTimes of the last run, by events of the device, except "
        "`prepare` and `total`. The scan is `search`; its products, without padding, over the int8 "
        "rate are the last column.\n\n"
        + table(["row", "kernel", "wall clock", *names, "% of the int8 rate"], lines)
    )


def scanned(row: Row, device: Row) -> str:
    """Return the share of the int8 matrix rate that the scans of a run reached, in per cent."""
    products, seconds = row["stats"]["scan_products"], row["stats"]["seconds"]["search"]
    if not products or not seconds or "int8_operations" not in device:
        return "–"
    useful = products * row["dim"] / (-(-row["dim"] // STRIDE) * STRIDE)
    return figure(100 * 2 * useful / seconds / device["int8_operations"], 2)


# --- Where others win ----------------------------------------------------------------------------


def others_win(sections: Sequence[Section]) -> str:
    """List the peers that beat this project on each problem, and when to use them."""
    if not sections:
        return ""
    lines, advice = [OTHERS_WIN], {}
    for section in sections:
        problems: dict[str, list[Row]] = {}  # the scaling has one problem for each n
        for row in section.get("rows", []):
            problems.setdefault(problem(row), []).append(row)
        for title, rows in problems.items():
            sentences, named = wins(rows)
            advice.update({row["title"]: row["advice"] for row in named})
            lines.append(f"- {title}: {'. '.join(sentences)}.\n")
    if advice:
        lines.append("\nWhen to use them:\n\n")
        lines += [f"- {title}: {words}.\n" for title, words in advice.items()]
    return "".join(lines)


def wins(rows: Sequence[Row]) -> tuple[list[str], list[Row]]:
    """Return sentences on one problem, and the rows that they name."""
    ours = next((row for row in rows if row["peer"] == "gtn_label" and row["quality"]), None)
    others = [row for row in rows if row["kind"] not in OWN_PROMISES and row["quality"]]
    if ours is None or not others:
        return ["no other peer was measured"], []
    sentences: list[str] = []
    named: list[Row] = []

    def say(lead: str, show: Callable[[Row], str]) -> None:
        shown = [(row, words) for row in others if (words := show(row))]
        if shown:
            sentences.append(lead + "; ".join(f"{row['title']} {words}" for row, words in shown))
            named.extend(row for row, _ in shown)

    def faster(row: Row) -> str:
        ratio = row["ratio"] and row["ratio"]["median"]
        return f"{1 / ratio:.3g} times" if ratio and ratio < 1 else ""

    distance, smooth = (ours["quality"][key] for key in ("mean_squared_distance", "learnability"))

    def shorter(row: Row) -> str:
        theirs = row["quality"]["mean_squared_distance"]
        better = theirs is not None and theirs < CLEARLY_SHORTER * distance
        return f"{theirs:.4g}" if better else ""

    def smoother(row: Row) -> str:
        theirs = row["quality"]["learnability"]
        better = None not in (smooth, theirs) and theirs > smooth + CLEARLY_SMOOTHER
        return f"{theirs:.3f}" if better else ""

    say("Faster: ", faster)
    say(f"Shorter pairs (mean squared distance, gtn_label {distance:.4g}): ", shorter)
    say(f"Smoother labels (10-NN R², gtn_label {smooth or 0:.3f}): ", smoother)
    untimed = [row["title"] for row in others if not row["ratio"]]
    if not sentences and len(untimed) < len(others):
        sentences.append("no peer that ran was faster or gave better pairs")
    if untimed:  # as after a break
        sentences.append("Checked but not timed: " + "; ".join(untimed))
    return sentences, named


TABLES: dict[str, Callable[[Section], str]] = {
    **dict.fromkeys(("compare", "datasets", "targets"), compared),
    **dict.fromkeys(("scaling", "growth"), scaled),
    "optimal": transport_tables.solvers,
    "maps": transport_tables.maps,
    "throughput": rates,
}
