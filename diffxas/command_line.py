"""What all commands share: errors as one line, exit codes, options, and small tables.

Nothing heavy is imported here, so that ``diffxas --help`` answers at once. Exit codes: 0 done,
1 failed while running, 2 bad input, 3 (``generate``) target out of reach, 130 interrupted.
"""

from __future__ import annotations

import errno
import math
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from diffxas.errors import DiskFull, InputError, RunError, is_full
from diffxas.files import check_writable
from diffxas.spectrum import Spectrum, parse_edge

AnyCommand = TypeVar("AnyCommand", bound=Callable[..., Any])

DEFAULT_EDGE = "C:K"
RESUMABLE = ("generate", "campaign", "discover", "quench", "train", "evaluate")
PATH = click.Path(path_type=Path)
"""A path as it was given: whether it exists is said by the readers, in our words."""


class _BadInput(click.ClickException):
    """One line about what the user gave."""

    exit_code = 2


class _Failed(click.ClickException):
    """One line about what went wrong while running."""

    exit_code = 1


class _Interrupted(click.ClickException):
    """Ctrl-C, which is no error: the line goes without that word."""

    exit_code = 130

    def show(self, file: Any = None) -> None:
        click.echo(self.message, file=file, err=True)


class DiffxasGroup(click.Group):
    """The root group: turns errors into one line and an exit code, and keeps the command line.

    ``ctx.obj`` is the command line as text. A failing system call (disk full) is the machine's
    state and gets one line too; any other exception is a defect and shows its traceback.
    """

    def make_context(self, info_name: str | None, args: list[str],
                     parent: click.Context | None = None, **extra: Any) -> click.Context:
        """See :class:`click.Command`; ``args`` are consumed by parsing, hence kept first."""
        extra.setdefault("obj", shlex.join(["diffxas", *args]))
        return super().make_context("diffxas", args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the sub-command."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            raise _BadInput(_one_line(error)) from error
        except RunError as error:
            raise _Failed(_one_line(error)) from error
        except click.UsageError as error:
            whose = error.ctx.command_path if error.ctx else "diffxas"
            what = " ".join(error.format_message().split()).rstrip(".")
            raise _BadInput(f"{what}: see `{whose} --help`") from error
        except OSError as error:
            if error.errno in (None, errno.EPIPE):
                raise
            if is_full(error):
                if not isinstance(error, DiskFull):
                    error = DiskFull(Path(error.filename or ".").absolute())
                goes_on = "resumes" if _resumes(ctx) else "starts again"
                raise _Failed(f"{_one_line(error)}; it {goes_on}") from error
            raise _Failed(_one_line(error)) from error
        except KeyboardInterrupt as error:
            remedy = ("what is finished stays, the same command resumes" if _resumes(ctx) else
                      "the same command starts again")
            raise _Interrupted(f"Interrupted: {remedy}") from error


def _resumes(ctx: click.Context) -> bool:
    """Whether the sub-command goes on where it stopped."""
    return ctx.invoked_subcommand in RESUMABLE


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


class SpreadingCommand(click.Command):
    """A command whose ``--reference`` takes all words up to the next option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Write ``--reference a b`` as ``--reference a --reference b``, which click knows."""
        words: list[str] = []
        waiting, taken = False, 0
        for word in [*args, "--"]:
            if waiting and not word.startswith("-"):
                words += ["--reference", word]
                taken += 1
                continue
            if waiting and not taken:
                raise click.UsageError("--reference must be followed by a file, received none", ctx)
            waiting, taken = word == "--reference", 0
            if not waiting:
                words.append(word)
        return super().parse_args(ctx, words[:-1])


def out_option(what: str, metavar: str = "DIR") -> Callable[[AnyCommand], AnyCommand]:
    """The required ``--out``."""
    return click.option("--out", type=PATH, required=True, metavar=metavar, help=what)


def window_option(use: str) -> Callable[[AnyCommand], AnyCommand]:
    """``--window LO HI``."""
    return click.option("--window", type=float, nargs=2, metavar="LO HI", callback=_check_window,
                        help=f"Energy window {use}, eV.  [default: 282 300 for measured C:K "
                             f"targets]")


def _check_window(ctx: click.Context, parameter: click.Parameter,
                  value: tuple[float, float] | None) -> tuple[float, float] | None:
    if value is not None and not (0 < value[0] < value[1] < math.inf):
        raise InputError(f"--window must be two rising energies in eV, received {value[0]:g} "
                         f"{value[1]:g}: write it as --window 282 300")
    return value


def observation_options(command: AnyCommand) -> AnyCommand:
    """``--exclude``, ``--adsorbates``, ``--reference``: what stands between structure and data."""
    exclude = click.option(
        "--exclude", multiple=True, metavar="LO:HI", callback=_parse_exclude,
        help="Energies of TARGET that do not count, eV, such as 286.5:289; repeatable.")
    adsorbates = click.option(
        "--adsorbates", is_flag=True,
        help="Let C-H (287.5 eV) and C=O (288.5 eV) of a surface absorb beside the structure; for "
             "measured C:K targets. Their areas are reported.")
    reference = click.option(
        "--reference", metavar="graphite:FILE|diamond:FILE",
        help="A spectrum measured in the same beamtime, whose known marks fix energy axis and "
             "resolution; for measured C:K targets.")
    return exclude(adsorbates(reference(command)))


def _parse_exclude(ctx: click.Context, parameter: click.Parameter,
                   value: tuple[str, ...]) -> tuple[tuple[float, float], ...]:
    return tuple(parse_range(text) for text in value)


def parse_range(text: str) -> tuple[float, float]:
    """``LO:HI`` in eV.

    Raises
    ------
    InputError
        If it is not two rising positive numbers.
    """
    try:
        low, high = map(float, text.split(":"))
    except ValueError:
        low, high = math.nan, math.nan
    if not 0 < low < high < math.inf:
        raise InputError(f"--exclude must be two rising energies in eV, received {text!r}: write "
                         f"it as --exclude 286.5:289")
    return low, high


def training_options(command: AnyCommand) -> AnyCommand:
    """``DATA...``, ``--out`` and ``--config`` of a training."""
    data = click.argument("data", metavar="DATA...", type=PATH, nargs=-1, required=True)
    config = click.option("--config", type=PATH, metavar="FILE", help="Settings, a TOML file.")
    out = out_option("Folder of the model; an unfinished training there resumes.")
    return data(out(config(command)))


def target_options(command: AnyCommand) -> AnyCommand:
    """``--edge`` and ``--columns``, which say how a target file is read."""
    columns = click.option(
        "--columns", metavar="KEY=COLUMN,...",
        help="Which columns hold what, by number from 1 or by name: energy=1,signal=2,i0=3 "
             "(signal/i0), energy=1,mu=2, energy=1,i0=2,itrans=3 (a logarithm), or group=NAME for "
             "an Athena project.  [default: by their names; the choice is printed]")
    edge = click.option(
        "--edge", metavar="ELEMENT:EDGE",
        help="Absorber and edge, such as C:K; overrides what the file says.  [default: the "
             f"file's, or {DEFAULT_EDGE} where it says nothing]")
    return edge(columns(command))


def potential_options(command: AnyCommand) -> AnyCommand:
    """``--potential``, ``--cell-too`` and ``--relax-restraint``."""
    potential = click.option(
        "--potential", metavar="NAME",
        help="Potential energy to relax with: rebo, airebo, airebo-m, lcbop, snap, "
             "tersoff[:FILE], vashishta[:FILE], FILE.lmp (your own LAMMPS lines) or "
             "matgl:FOLDER.  [default: rebo for C and H, vashishta for Si with O, tersoff for Si "
             "and Si with C; otherwise name one]")
    cell = click.option("--cell-too", is_flag=True, help="Relax the cell as well as the positions.")
    restraint = click.option(
        "--relax-restraint", type=float, metavar="K",
        help="Harmonic springs to the given positions, eV/angstrom^2 (1 is gentle, 10 stiff).  "
             "[default: none]")
    return potential(cell(restraint(command)))


def cutoff_option(command: AnyCommand) -> AnyCommand:
    """``--cutoff``, repeatable: a dictionary ``cutoffs`` of lengths by the name of the pair."""
    return click.option(
        "--cutoff", "cutoffs", multiple=True, metavar="PAIR=LENGTH", callback=_parse_cutoffs,
        help="Longest bond of a pair of elements, angstrom, such as Si-O=2.2; repeatable.  "
             "[default: C-C 1.85, else the first minimum of the reference's g(r), what the prior "
             "records, or 1.3 times the covalent radii]")(command)


def _parse_cutoffs(ctx: click.Context, parameter: click.Parameter,
                   value: tuple[str, ...]) -> dict[str, float]:
    if not value:
        return {}
    from diffxas.cutoffs import parse_cutoffs

    return parse_cutoffs(value)


def lammps_options(command: AnyCommand) -> AnyCommand:
    """``--type-order`` and ``--charges`` of LAMMPS files, parsed; None where not given."""
    order = click.option(
        "--type-order", metavar="ELEMENT,...", callback=_parse_type_order,
        help="Elements in the order of LAMMPS' atom types, such as Si,O.  [default: alphabetical]")
    charges = click.option(
        "--charges", metavar="ELEMENT=CHARGE,...", callback=_parse_charges,
        help="Charges in LAMMPS files, e, such as Si=2.4,O=-1.2; the atom style is then charge.")
    return order(charges(command))


def _parse_type_order(ctx: click.Context, parameter: click.Parameter,
                      value: str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    from diffxas.lammps_data import parse_type_order

    return parse_type_order(value)


def _parse_charges(ctx: click.Context, parameter: click.Parameter,
                   value: str | None) -> dict[str, float] | None:
    if value is None:
        return None
    from diffxas.lammps_data import parse_charges

    return parse_charges(value)


def read_target(path: Path, columns: str | None, edge: str | None) -> Spectrum:
    """Read a target and print what was read; C:K only where neither file nor option names one.

    Raises
    ------
    InputError
        As :func:`diffxas.spectrum_files.read_spectrum`.
    """
    target = Spectrum.read(path, columns=columns, edge=edge)
    assumed = ""
    if not target.element:
        element, name = parse_edge(DEFAULT_EDGE)
        target, assumed = replace(target, element=element, edge=name), " (assumed)"
    click.echo(f"{path}: {target.element}:{target.edge or '?'}{assumed}, {len(target)} points from "
               f"{target.energy[0]:g} to {target.energy[-1]:g} eV, {target.meta['columns']}")
    return target


def existing(paths: Iterable[Path]) -> list[Path]:
    """The paths, all of which exist.

    Raises
    ------
    InputError
        If one does not.
    """
    paths = list(paths)
    for path in paths:
        if not path.exists():
            raise InputError(f"training data must be existing files or folders, received {path}: "
                             f"check the path")
    return paths


def check_output_file(out: Path, inputs: Iterable[Path]) -> None:
    """Refuse an output file that is a folder, an input, part of a run, or cannot be written.

    Raises
    ------
    InputError
        If it is.
    """
    if out.is_dir():
        raise InputError(f"--out must be a file, received the folder {out}: name a file in it")
    if out.resolve() in [path.resolve() for path in inputs]:
        raise InputError(f"--out must not be one of the inputs, received {out}: name another file")
    if out.exists() and (out.parent / "run.json").is_file():
        raise InputError(f"--out must not replace a file of a run, received {out} beside its "
                         f"run.json: name a file elsewhere")
    check_writable(out)


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned to the left, for the terminal."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True))
                     .rstrip() for row in (header, *rows))


def pair_columns(found: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """A column for each two unlike elements: percentages by number of bonds, ``4:98 3:2``.

    ``found`` as :func:`diffxas.analysis.bonding` gives it, an entry a row.
    """
    names = dict.fromkeys(name for one in found for name in one["coordination_pairs"])
    unlike = [name for name in names if len(set(name.split("-"))) == 2]
    return {f"{name} %": [_kinds(one["coordination_pairs"].get(name, {})) for one in found]
            for name in unlike}


def _kinds(fractions: Mapping[str, float]) -> str:
    """The largest first; what rounds to nothing is left out."""
    ranked = sorted(fractions.items(), key=lambda item: -item[1])
    return " ".join(f"{n}:{100 * x:.0f}" for n, x in ranked if x >= 0.005) or "-"


def shares(fractions: Mapping[str, float]) -> str:
    """Percentages of two-, three- and four-fold atoms, such as ``8/84/8``."""
    return "/".join(f"{100 * fractions[key]:.0f}" for key in "234")
