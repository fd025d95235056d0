"""What a release must pass: build, metadata, and the demo from each file in an empty environment.

python tests/release_check.py                 sdist and wheel, each in an environment of its own
python tests/release_check.py --lend .venv    the dependencies are those of another environment:
                                              minutes and gigabytes less, and a weaker check

It works under build/release and leaves sdist and wheel in dist/.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "release"
TOOLS = ("build", "twine", "check-wheel-contents")
NEEDED = ("pumlc/_version.py", "pumlc/py.typed", "pumlc/report/templates/review.html")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--lend", type=Path, help="environment that lends its packages")
    lender = parser.parse_args().lend
    files = build()
    for file in files:
        check_content(file)
    for file in files:
        check_installed(file, lender)
    print(f"ready: {' '.join(str(file.relative_to(ROOT)) for file in files)}")


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    """Run a command that must succeed, and return what it printed."""
    print("$", *command, flush=True)
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**clean, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\nfailed: {' '.join(map(str, command))}")
    return done.stdout


def build() -> list[Path]:
    """Sdist, and the wheel from that sdist, after the checks of their metadata."""
    tools = WORK / "tools"
    if not (tools / "bin" / "twine").exists():
        venv.create(tools, with_pip=True)
        run(tools / "bin" / "python", "-m", "pip", "install", "-q", *TOOLS)
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    run(tools / "bin" / "python", "-m", "build", "--outdir", ROOT / "dist", ROOT)
    (wheel,), (source,) = ((ROOT / "dist").glob(ending) for ending in ("*.whl", "*.tar.gz"))
    run(tools / "bin" / "twine", "check", "--strict", wheel, source)
    # W004: a stub beside a module is no module of its own
    run(tools / "bin" / "check-wheel-contents", "--ignore", "W004", wheel)
    return [wheel, source]


def check_content(file: Path) -> None:
    """The file has what the package reads, and every settings file."""
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as archive:
            names = set(archive.namelist())
    else:
        with tarfile.open(file) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
    configs = "pumlc/configs" if file.suffix == ".whl" else "configs"
    settings = [f"{configs}/{path.name}" for path in (ROOT / "configs").glob("*.yaml")]
    missing = [name for name in (*NEEDED, *settings) if name not in names]
    if missing:
        sys.exit(f"{file.name} lacks {', '.join(missing)}")


def check_installed(file: Path, lender: Path | None) -> None:
    """Install a file in an empty environment, away from the source, and run the demo there."""
    place = WORK / "environment"
    shutil.rmtree(place, ignore_errors=True)
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q"]
    try:
        if lender is None:
            run(*install, file)
        else:
            lend(lender, place)
            run(*install, "--no-deps", file)
        with tempfile.TemporaryDirectory() as away:
            check_demo(python, Path(away), file)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def lend(lender: Path, place: Path) -> None:
    """Let an environment see the packages of another one, except pumlc itself."""
    (packages,) = lender.resolve().glob("lib/python*/site-packages")
    (own,) = place.glob("lib/python*/site-packages")
    (own / "lent.pth").write_text(f"{packages}\n")  # after its own, and without the lender's .pth


def check_demo(python: Path, away: Path, file: Path) -> None:
    where = run(python, "-c", "import pumlc; print(pumlc.__file__)", cwd=away).strip()
    if not Path(where).is_relative_to(WORK / "environment"):
        sys.exit(f"{where} is not the installed package")
    command = python.parent / "pumlc"
    version = run(command, "--version", cwd=away).split()[-1]
    stated = re.sub(r"^pumlc-|(-py3-none-any\.whl|\.tar\.gz)$", "", file.name)
    if version != stated:
        sys.exit(f"{file.name} has version {version}")
    run(command, "recipes", cwd=away)
    printed = run(command, "demo", cwd=away)
    print(printed[printed.index("| method") :], flush=True)
    page = Path(printed.splitlines()[-1])  # the last thing that the demo says
    if not page.is_relative_to(away.resolve()) or not page.is_file():
        sys.exit(f"the demo of {file.name} wrote no page {page}")


if __name__ == "__main__":
    main()
