"""Each package runs as AWS runs it: its own files, the SDK of the runtime, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest

from bootstrap import package
from tests.support.templates import template

FUNCTIONS = {
    name: resource["Properties"]["Handler"]
    for name, resource in template("app")["Resources"].items()
    if resource["Type"] == "AWS::Serverless::Function"
}
PROGRAM = """
import importlib, sys
sys.path[:0] = sys.argv[1:3]
module, name = sys.argv[3].rsplit(".", 1)
assert callable(getattr(importlib.import_module(module), name))
"""


@pytest.fixture(scope="module")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with boto3 and what boto3 itself needs, as the Lambda runtime brings them."""
    folder = tmp_path_factory.mktemp("sdk")
    for name in _closure("boto3", set()):
        for top in {path.parts[0] for path in distribution(name).files or () if path.parts[0] != ".."}:
            if not top.endswith(".dist-info") and top != "__pycache__":
                (folder / top).symlink_to(Path(str(distribution(name).locate_file(top))))
    return folder


@pytest.fixture(scope="module")
def packages() -> dict[str, Path]:
    return {built.function: built.path for built in package.build_all()}


def _closure(name: str, seen: set[str]) -> Iterator[str]:
    """The distribution and all that it requires."""
    if name in seen:
        return
    seen.add(name)
    yield name
    for requirement in distribution(name).requires or ():
        found = re.match(r"[\w.-]+", requirement)
        if found and "extra ==" not in requirement:
            yield from _closure(found[0], seen)


def _run(package_folder: Path, sdk: Path, handler: str) -> subprocess.CompletedProcess[str]:
    """Isolated, without site-packages and without environment: what is not on those two paths is not there."""
    command = [sys.executable, "-I", "-S", "-B", "-W", "error", "-c", PROGRAM, str(package_folder), str(sdk), handler]
    return subprocess.run(command, capture_output=True, text=True, env={}, check=False)


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
def test_the_handler_of_a_package_is_imported_with_the_sdk_of_the_runtime_alone(
    function: str, packages: dict[str, Path], sdk: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(packages[function]) as archive:
        archive.extractall(tmp_path)
    done = _run(tmp_path, sdk, FUNCTIONS[function])
    assert done.returncode == 0, done.stderr


def test_without_its_dependencies_a_package_is_not_imported(
    packages: dict[str, Path], sdk: Path, tmp_path: Path
) -> None:
    """The test above can fail: this environment really holds nothing else."""
    with zipfile.ZipFile(packages["SubmitTask"]) as archive:
        archive.extractall(tmp_path, [name for name in archive.namelist() if name.startswith("lambdas/")])
    done = _run(tmp_path, sdk, FUNCTIONS["SubmitTask"])
    assert done.returncode != 0
    assert "ModuleNotFoundError" in done.stderr
