"""Make .venv, or bring it up to date, once however many ``make`` ask for it at the same time.

``python3 .ci/venv.py [FLAGS of pip for torch ...]``, standard library only. A stamp in .venv holds
the hash of pyproject.toml and constraints.txt; while it is theirs, nothing is done. torch goes
first and alone, pinned, since any other order may let pip fetch a build with gigabytes of CUDA.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "diffxas-installed"
CONSTRAINTS = ROOT / ".ci" / "constraints.txt"
OLDEST = (3, 11)


def wanted() -> str:
    """Hash of everything that says what is to be installed, and where."""
    digest = hashlib.sha256(str(ROOT).encode())
    for path in (ROOT / "pyproject.toml", CONSTRAINTS):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def install(torch_flags: list[str]) -> None:
    """Make the environment and install torch, the project with what it needs, and Lightshow."""
    python = VENV / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    pin = next(line for line in CONSTRAINTS.read_text().splitlines() if line.startswith("torch=="))
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "-c", CONSTRAINTS]
    subprocess.run([*pip, *torch_flags, pin], check=True)
    subprocess.run([*pip, "-e", f"{ROOT}[dev]"], check=True)
    # Its own pins (pymatgen of 2024) would take half of the above back.
    subprocess.run([*pip, "--no-deps", "lightshow"], check=True)


def main() -> int:
    """Install under a lock; 0 if the environment is as wanted."""
    if sys.version_info[:2] < OLDEST:
        print(f"Python must be at least {OLDEST[0]}.{OLDEST[1]}, received {sys.version.split()[0]} "
              f"({sys.executable}): run `make PYTHON=python3.11 ...`", file=sys.stderr)
        return 2
    if STAMP.is_file() and STAMP.read_text() == wanted():
        return 0
    VENV.mkdir(exist_ok=True)
    with (VENV / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released by the system even if this process is killed
        if STAMP.is_file() and STAMP.read_text() == wanted():
            return 0  # another make did it while this one waited
        try:
            install(sys.argv[1:])
        except subprocess.CalledProcessError as error:
            print("installing into .venv failed (see above): repeat the command; it goes on from "
                  "what is there", file=sys.stderr)
            return error.returncode
        temporary = STAMP.with_suffix(".tmp")
        temporary.write_text(wanted())
        os.replace(temporary, STAMP)
    return 0


if __name__ == "__main__":
    sys.exit(main())
