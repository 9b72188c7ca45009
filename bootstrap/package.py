"""Lambda packages: the same bytes for the same input and Python, named by the hash of their content.

They hold bytecode beside the sources. Where a function runs, its package is read-only: Python would compile all of it
again at each cold start, for a third of its CPU. Bytecode is the same on every architecture; a Python of another
version than the one that built the package does not look at it and takes the sources. So a package for AWS is best
built by the Python of the template's `Runtime`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import traceback
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import source_from_cache
from pathlib import Path
from typing import Literal

from bootstrap import description, kinds, locks, template
from bootstrap.errors import BootstrapError
from bootstrap.kinds import Kind
from bootstrap.paths import ROOT, cache_dir

OPENAPI, OPENAPI_JSON = "docs/openapi.yaml", "lambdas/query_tasks/openapi.json"
"""The API's description but for the kinds of task, and where the function that serves it finds the whole of it."""
KINDS_JSON = "lambdas/query_tasks/kinds.json"
"""The names of the kinds, for the function that tells them: it has not their code."""
LOCK = ROOT / "requirements-lambda.lock"
FIXED_DATE = (1980, 1, 1, 0, 0, 0)
"""The earliest date a zip can hold. A real one would make each build differ."""
FILE_MODE = 0o644
UNZIPPED_BYTES = 250 * 1024 * 1024
"""Largest function (Lambda guide, "Lambda quotas"). Its limit of 50 MB for the zip is for uploads without S3."""
LEFT_OUT = ("*.dist-info", "bin")
"""Of the dependencies."""
MADE_BY_PYTHON = ("__pycache__", "*.pyc")
"""Beside our own sources, by whoever ran them here."""
BYTECODE = ("-I", "-S", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash")
"""In a process that loads nothing else, and with no time of a file in it: the same sources make the same bytes."""

PACKAGES: Mapping[str, tuple[str, ...]] = {
    "SubmitTask": ("lambdas/submit_task", "lambdas/process_task/kinds"),
    "QueryTasks": ("lambdas/query_tasks",),
    "ProcessTask": ("lambdas/process_task",),
    "MonitorDlq": ("lambdas/monitor_dlq",),
    "SweepTasks": ("lambdas/sweep_tasks",),
    "SteerTasks": ("lambdas/steer_tasks",),
}
"""Function (logical id) -> folders in its package, beside `lambdas/common` and the dependencies."""


@dataclass(frozen=True, slots=True)
class Package:
    function: str
    path: Path
    key: str
    """Object key in the package bucket: function and content hash."""


def build_all(read_kinds: Callable[[Path], Sequence[Kind]] = kinds.read) -> list[Package]:
    """Build every package that is not there yet; what is unchanged is found by its hash and not built again.

    `read_kinds` tells the kinds of task, given the dependencies: one package describes them.

    Raises:
        BootstrapError: one is larger than Lambda takes, or holds what is not Python; the kinds cannot be loaded.
    """
    with locks.in_turn(cache_dir() / "packages.lock"):
        folder = install_dependencies()
        dependencies, packed = _read(dict(_tree(folder, LEFT_OUT))), folder.with_name(f"{folder.name}.zip")
        if not packed.exists():
            _written(packed, lambda path: write_zip(path, dependencies))
        own = {function: _read(_sources(folders)) for function, folders in PACKAGES.items()}
        bytecode = _bytecode({name: text for content in own.values() for name, text in content.items()})
        made = described(read_kinds(folder))
        return [
            _build(function, dependencies, packed, content | _of(content, bytecode) | _beside(content, made))
            for function, content in own.items()
        ]


def install_dependencies() -> Path:
    """The locked dependencies of the functions, unpacked once per lock file and Python.

    Raises:
        BootstrapError: pip failed.
    """
    lock_hash = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]
    folder = cache_dir() / "lambda-dependencies" / f"{lock_hash}-{sys.implementation.cache_tag}"
    if folder.exists():
        return folder
    with locks.in_turn(cache_dir() / "lambda-dependencies.lock"):
        if not folder.exists():
            _install(folder)
    return folder


def _install(folder: Path) -> None:
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    command += ["--no-deps", "--only-binary=:all:", "--require-hashes", "--target", str(unfinished), "-r", str(LOCK)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BootstrapError(
            f"The functions' dependencies could not be installed:\n{done.stderr.strip()[-1000:]}",
            "Is a package index reachable? Then run the same command again.",
        )
    _compile(unfinished)
    unfinished.rename(folder)


def _compile(folder: Path) -> None:
    subprocess.run([sys.executable, *BYTECODE, "-s", str(folder), str(folder)], check=True)


def _bytecode(sources: Mapping[str, bytes]) -> dict[str, bytes]:
    """Of all our sources, compiled once for each state of them.

    Raises:
        BootstrapError: a source is no Python.
    """
    folder = cache_dir() / "bytecode" / f"{content_hash(sources)}-{sys.implementation.cache_tag}"
    if not folder.exists():
        for name, text in sources.items():
            check_syntax(name, text)
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        for name, text in sources.items():
            path = unfinished / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)
        _compile(unfinished)
        unfinished.rename(folder)
    return _read({name: path for name, path in _tree(folder, ()) if name.endswith(".pyc")})


def _of(sources: Mapping[str, bytes], bytecode: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: code for name, code in bytecode.items() if source_from_cache(name) in sources}


def _sources(folders: tuple[str, ...]) -> dict[str, Path]:
    files: dict[str, Path] = {"lambdas/__init__.py": ROOT / "lambdas/__init__.py"}
    for folder in ("lambdas/common", *folders):
        # A folder inside another function's brings that function's __init__.py along, so that it can be imported.
        for parent in Path(folder).parents:
            if parent.parts:
                files[f"{parent}/__init__.py"] = ROOT / parent / "__init__.py"
        files |= {f"{folder}/{name}": path for name, path in _tree(ROOT / folder, MADE_BY_PYTHON)}
    return files


def _tree(folder: Path, left_out: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.match(mask) for part in map(Path, name.parts) for mask in left_out):
            yield name.as_posix(), path


def _read(files: Mapping[str, Path]) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in files.items()}


def described(found: Sequence[Kind]) -> dict[str, bytes]:
    """What a package holds that no file does, as JSON: the API's description with these kinds in it; their names."""
    document = description.with_kinds(template.load_plain(ROOT / OPENAPI), found)
    made = {OPENAPI_JSON: document, KINDS_JSON: [kind.name for kind in found]}
    return {name: json.dumps(content, separators=(",", ":")).encode() for name, content in made.items()}


def _beside(sources: Mapping[str, bytes], made: Mapping[str, bytes]) -> dict[str, bytes]:
    """Of what was made that which belongs into a folder of this package."""
    folders = {Path(name).parent for name in sources}
    return {name: text for name, text in made.items() if Path(name).parent in folders}


def _build(function: str, dependencies: Mapping[str, bytes], packed: Path, own: Mapping[str, bytes]) -> Package:
    """`packed` holds the dependencies, compressed once: what is the function's own is put behind them."""
    content = {**dependencies, **own}
    check_size(function, content)
    digest = content_hash(content)
    path = cache_dir() / "packages" / f"{function}-{digest}.zip"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _written(path, lambda unfinished: _append(packed, unfinished, own))
    return Package(function, path, f"{function}/{digest}.zip")


def _append(packed: Path, path: Path, own: Mapping[str, bytes]) -> None:
    shutil.copyfile(packed, path)
    write_zip(path, own, mode="a")


def _written(path: Path, write: Callable[[Path], object]) -> None:
    """There as a whole, or not at all."""
    unfinished = path.with_suffix(".unfinished")
    write(unfinished)
    unfinished.replace(path)


@cache
def check_syntax(name: str, text: bytes) -> None:
    """
    Raises:
        BootstrapError: Python cannot read it; with file, line and what it stumbled over.
    """
    if not name.endswith(".py"):
        return
    try:
        compile(text, name, "exec", dont_inherit=True)
    except SyntaxError as error:
        shown = "".join(traceback.format_exception_only(error)).rstrip()
        raise BootstrapError(f"Not Python:\n{shown}", "Mend it. The functions go on with the code of before.") from None


def check_size(function: str, content: Mapping[str, bytes]) -> None:
    size = sum(map(len, content.values()))
    if size > UNZIPPED_BYTES:
        largest = max(content, key=lambda name: len(content[name]))
        raise BootstrapError(
            f"{function} has {size:,} bytes unzipped; Lambda takes {UNZIPPED_BYTES:,}. The largest file is {largest}.",
            "Leave something out of the group `lambda` in pyproject.toml, then type `make lock`.",
        )


def content_hash(content: Mapping[str, bytes]) -> str:
    """Of names and bytes, in order of names; 32 hexadecimal digits."""
    total = hashlib.sha256()
    for name in sorted(content):
        total.update(f"{name}\0{len(content[name])}\0".encode())
        total.update(content[name])
    return total.hexdigest()[:32]


def write_zip(path: Path, content: Mapping[str, bytes], mode: Literal["w", "a"] = "w") -> None:
    """Sorted names, one date, one mode: the bytes depend on nothing but the content (and what is there already)."""
    with zipfile.ZipFile(path, mode, zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in sorted(content):
            entry = zipfile.ZipInfo(name, FIXED_DATE)
            entry.external_attr = FILE_MODE << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, on whichever system this runs
            archive.writestr(entry, content[name])
