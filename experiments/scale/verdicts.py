"""The table of figures to reach: what was found, and whether that is enough.

Every line is a function of rows by name; what was not measured says so, and is never a yes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from experiments.scale.call import SHARED
from experiments.scale.kept import Row, mark
from experiments.scale.quality import is_good
from experiments.scale.sizes import (
    EIGHT,
    GPU,
    HUGE_JOB,
    HUNDRED_THOUSAND,
    MILLION,
    ONE,
    TEN_THOUSAND,
    Job,
)

NOT_RUN = "not run"
PUBLISHED_MS = 0.55
"""Of the published network, ms per atom of a call at 216 atoms on this kind of core (the issue)."""
CALL_TIMES, CALLS = 8.0, 32
SPEED_UP, PER_ATOM = 1.7, 1.3
EXACT = 1e-10
LEVEL = 0.05
"""Of all tests of a kind together (Bonferroni)."""

Rows = Mapping[str, Row]


@dataclass(frozen=True)
class Line:
    """One figure to reach; ``met`` is None where it was not measured."""

    what: str
    target: str
    found: str
    met: bool | None

    def row(self) -> dict[str, object]:
        """For the table."""
        return {"what": self.what, "target": self.target, "found": self.found,
                "met": NOT_RUN if self.met is None else self.met}


def limits(what: str, row: Row | None, seconds: Callable[[Row], float], minutes: float,
           gib: float) -> Line:
    """A run against a time and a memory."""
    target = f"under {minutes:g} min, under {gib:g} GiB"
    if row is None:
        return Line(what, target, NOT_RUN, None)
    took, memory = seconds(row) / 60, row["peak"] / 1024
    return Line(what, target, f"{took:.3g} min, {memory:.3g} GiB; command {row['wall'] / 60:.3g} "
                              f"min{mark(row)}", took < minutes and memory < gib)


def sampling(row: Row) -> float:
    """Seconds of sampling alone."""
    return float(row["seconds_sampling"])


def wall(row: Row) -> float:
    """Seconds of the whole command."""
    return float(row["wall"])


def fastest(rows: Rows, atoms: int) -> Row | None:
    """The quickest sampling of that many atoms, by any number of workers."""
    found = [rows[name] for n in (None, 1, 2)
             if (name := Job("sampling", atoms, n).name) in rows]
    return min(found, key=sampling) if found else None


def lines(rows: Rows) -> list[Line]:
    """The whole table."""
    return [*(call_line(rows, atoms) for atoms in (ONE, EIGHT)), calls_line(rows),
            limits(f"unguided {HUNDRED_THOUSAND:,} atoms, sampling",
                   fastest(rows, HUNDRED_THOUSAND), sampling, 12, 3),
            limits(f"{HUNDRED_THOUSAND:,} atoms end to end (sampling, rebo on 2 MPI ranks, rings "
                   f"and g(r), report)",
                   rows.get(Job("end-to-end", HUNDRED_THOUSAND, 2).name), wall, 30, 4),
            limits(f"unguided {MILLION:,} atoms, sampling, {HUGE_JOB.steps} calls",
                   rows.get(HUGE_JOB.name), sampling, 120, 10),
            per_atom_line(rows),
            limits(f"guided {TEN_THOUSAND:,} atoms", rows.get(Job("guided", TEN_THOUSAND).name),
                   sampling, 15, 4),
            speed_up_line(rows),
            limits(f"GPU: unguided {MILLION:,} atoms",
                   rows.get(Job("sampling", MILLION, level=GPU).name), sampling, 2, 80),
            bits_line(rows), exact_line(rows), *structure_lines(rows)]


def call_line(rows: Rows, atoms: int) -> Line:
    """One call of the denoiser."""
    what, most = f"one denoiser call, {atoms:,} atoms, one core", PUBLISHED_MS / CALL_TIMES
    target = f"at least {CALL_TIMES:g}x less than {PUBLISHED_MS} ms per atom ({most:.3f})"
    row = rows.get(f"call-call-{atoms}")
    if row is None:
        return Line(what, target, NOT_RUN, None)
    found, published = row["ms_per_atom"], rows.get(f"call-published-{ONE}")
    here = "" if published is None else (
        f" ({published['ms_per_atom'] / found:.1f}x less than the published network on this "
        f"machine, {published['ms_per_atom']:.3f})")
    return Line(what, target, f"{found:.4f} ms per atom, {PUBLISHED_MS / found:.1f}x less{here}"
                              f"{mark(row)}", found <= most)


def calls_line(rows: Rows) -> Line:
    """The fewest calls from which on all samples are good, at every density, guided and not."""
    what = "denoiser calls for a sample of the quality asked"
    target = f"at most {CALLS}"
    kinds = {kind: [row for name, row in rows.items() if name.startswith(f"calls-{kind}-")]
             for kind in ("unguided", "guided")}
    if not all(kinds.values()):
        return Line(what, target, NOT_RUN, None)
    fewest = {kind: fewest_good(some) for kind, some in kinds.items()}
    said = "; ".join(f"{kind}: {'none measured is good' if n is None else n}"
                     for kind, n in fewest.items())
    return Line(what, target, said, all(n is not None and n <= CALLS for n in fewest.values()))


def fewest_good(rows: list[Row]) -> int | None:
    """Fewest calls such that these and all more give good samples at every density measured."""
    by_calls: dict[int, list[bool]] = {}
    for row in rows:
        by_calls.setdefault(int(row["calls"]), []).append(is_good(row))
    found = None
    for calls in sorted(by_calls, reverse=True):
        if not all(by_calls[calls]):
            break
        found = calls
    return found


def per_atom_line(rows: Rows) -> Line:
    """Sampling time per atom and call at a million atoms and at ten thousand, by equal means."""
    what = f"time per atom and call, {MILLION:,} against {TEN_THOUSAND:,} atoms"
    target = f"within {PER_ATOM:g}x"
    huge = rows.get(HUGE_JOB.name)
    small = rows.get(Job("sampling", TEN_THOUSAND, HUGE_JOB.workers).name)
    if huge is None or small is None:
        return Line(what, target, NOT_RUN, None)
    times = per_atom_and_call(huge) / per_atom_and_call(small)
    return Line(what, target, f"{times:.3g}x{mark(huge) or mark(small)}", times <= PER_ATOM)


def per_atom_and_call(row: Row) -> float:
    """Seconds of sampling."""
    return sampling(row) / row["atoms"] / row["calls"]


def speed_up_line(rows: Rows) -> Line:
    """Two workers against one, by a call."""
    what = f"two workers against one, a call of {SHARED:,} atoms, 2 cores"
    target = f"{SPEED_UP:g}x or better"
    one, two, alone = (rows.get(f"call-shared-{SHARED}{more}")
                       for more in ("-1-workers", "-2-workers", ""))
    if one is None or two is None or alone is None:
        return Line(what, target, NOT_RUN, None)
    times, over = one["wall"] / two["wall"], alone["wall"] / two["wall"]
    return Line(what, target, f"{times:.3g}x; {over:.3g}x against the command alone"
                              f"{mark(one) or mark(two)}", times >= SPEED_UP)


def bits_line(rows: Rows) -> Line:
    """Whether any number of workers gave the same: whole samples, and a call."""
    what = "structures with no, one and two workers"
    shared = [rows[name]["sha256"] for more in ("", "-1-workers", "-2-workers")
              if (name := f"call-shared-{SHARED}{more}") in rows]
    sampled = [rows[name]["sha256"] for n in (None, 1, 2)
               if (name := Job("sampling", TEN_THOUSAND, n).name) in rows]
    said, same = [], []
    for what_of, found in ((f"samples of {TEN_THOUSAND:,} atoms", sampled),
                           (f"a call of {SHARED:,}", shared)):
        if len(found) > 1:
            same.append(len(set(found)) == 1)
            said.append(f"{what_of}, {len(found)} runs: {'same' if same[-1] else 'differ'}")
    return Line(what, "the same bytes", "; ".join(said) or NOT_RUN, all(same) if same else None)


def exact_line(rows: Rows) -> Line:
    """Tiles against the whole."""
    what, target = "tiles against the whole, float64", f"{EXACT:g} angstrom"
    row = rows.get("call-exact")
    if row is None:
        return Line(what, target, NOT_RUN, None)
    return Line(what, target, f"{row['tiled_whole']:.2g} angstrom ({row['tiles']} tiles)",
                row["tiled_whole"] <= EXACT)


def structure_lines(rows: Rows) -> list[Line]:
    """The large cell against small ones; a test whose control passes proves nothing."""
    first = f"{HUNDRED_THOUSAND:,} atoms: "
    found = []
    row = rows.get("structure-alike")
    for name in ("shares", "g(r)", "angles", "rings"):
        what, target = f"{first}{name} against samples of 216", "alike; control differs"
        if row is None:
            found.append(Line(what, target, NOT_RUN, None))
            continue
        large, control = row["large"][name], row["control"][name]
        found.append(Line(
            what, target, f"distance {large['distance']:.2g} (chance {large['chance']:.2g}, "
                          f"p {large['p']:.2g}); control {control['distance']:.2g} "
                          f"(p {control['p']:.2g})",
            large["p"] > LEVEL / 4 and control["p"] <= LEVEL))
    row = rows.get("structure-borders")
    what, target = f"{first}tile borders against interiors", "indistinguishable; control differs"
    if row is None:
        found.append(Line(what, target, NOT_RUN, None))
    else:
        large, control = row["large"]["differ"], row["control"]["differ"]
        least = min(one["p_value"] for one in row["large"]["measures"])
        found.append(Line(what, target, f"{', '.join(large) or 'nothing'} differs (least p "
                                        f"{least:.2g}); control: {', '.join(control) or 'nothing'}",
                          not large and bool(control)))
    return found + variance_lines(first, rows.get("structure-variance"))


def variance_lines(first: str, row: Row | None) -> list[Line]:
    """Numbers of atoms in cubes of two edges, against networks tiled in two ways."""
    target = "the same; control differs"
    if row is None:
        return [Line(f"{first}number of atoms in cubes", target, NOT_RUN, None)]
    found = []
    for edge, here in row["edges"].items():
        of = here["reduced"]
        for name in ("repeated networks", "mosaics of networks"):
            one = here[name]
            p, seams = one["p"], ""
            if name.startswith("mosaics"):
                seams = f"; mosaics of samples {of['mosaics of samples']:.3f}"
            found.append(Line(
                f"{first}variance over mean of the number of atoms in cubes of {edge} angstrom, "
                f"against {name}", target,
                f"{of['large']:.3f} (p {p['large']:.2g}) against {one['mean']:.3f}, spread "
                f"{one['spread']:.3f}{seams}; control {of['control']:.3f} (p {p['control']:.2g}); "
                f"walk from uniform positions {of['uniform_start']:.3f} (p "
                f"{p['uniform_start']:.2g})",
                p["large"] > LEVEL / 4 and p["control"] <= LEVEL))
    return found
