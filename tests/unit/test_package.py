"""Lambda packages: the same bytes for the same content and Python, whoever builds them and when."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.util import MAGIC_NUMBER, cache_from_source, source_from_cache, source_hash
from pathlib import Path

import pytest

from bootstrap import package
from bootstrap.paths import ROOT
from lambdas.query_tasks import kinds

KINDS_JSON = "lambdas/query_tasks/kinds.json"
CONTENT = {"b.py": b"b = 1\n", "a/__init__.py": b"", "a/x.py": b"x = 1\n" * 1000}
BUILD = (
    "import json; from bootstrap import package; "
    "print(json.dumps({p.function: [p.key, str(p.path)] for p in package.build_all()}))"
)

UNCHECKED = (0b01).to_bytes(4, "little")

Built = dict[str, tuple[str, Path]]


def a_checkout(folder: Path) -> Path:
    """A checkout of its own, with an empty cache but for the unpacked dependencies, which take a while."""
    for name in ("bootstrap", "lambdas"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(package.LOCK, folder)
    (folder / package.OPENAPI).parent.mkdir()
    shutil.copy(ROOT / package.OPENAPI, folder / package.OPENAPI)
    cache = folder / ".local" / "cache"
    cache.mkdir(parents=True)
    (cache / "lambda-dependencies").symlink_to(package.install_dependencies().parent)
    return folder


def build(checkout: Path) -> Built:
    """Function -> object key and zip file, built by a process of its own."""
    done = subprocess.run([sys.executable, "-c", BUILD], cwd=checkout, capture_output=True, text=True, check=True)
    return {function: (key, Path(path)) for function, (key, path) in json.loads(done.stdout).items()}


def keys(built: Built) -> dict[str, str]:
    return {function: key for function, (key, _) in built.items()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(a_checkout(tmp_path_factory.mktemp("built")))


def test_another_checkout_with_other_times_and_modes_builds_the_same_bytes(built: Built, tmp_path: Path) -> None:
    checkout = a_checkout(tmp_path)
    for number, path in enumerate(sorted((checkout / "lambdas").rglob("*.py"))):
        os.utime(path, (1_000_000_000 + number, 1_000_000_000 + number))
        path.chmod(0o600)
    again = build(checkout)
    assert keys(again) == keys(built)
    assert {f: path.read_bytes() for f, (_, path) in again.items()} == {
        f: path.read_bytes() for f, (_, path) in built.items()
    }


def test_several_that_need_the_dependencies_at_once_find_them_unpacked_whole(tmp_path: Path) -> None:
    checkout = a_checkout(tmp_path)
    (checkout / ".local" / "cache" / "lambda-dependencies").unlink()
    command = [sys.executable, "-c", "from bootstrap import package; print(package.install_dependencies())"]
    at_once = [subprocess.Popen(command, cwd=checkout, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    found = {process.communicate()[0].strip() for process in at_once}
    assert [process.returncode for process in at_once] == [0, 0, 0]
    [folder] = map(Path, found)
    assert {path.name for path in folder.iterdir()} == {path.name for path in package.install_dependencies().iterdir()}


KIND = "lambdas/process_task/kinds/simulated.py"
CHANGES = (
    ({"lambdas/common/ids.py": ("", "# changed\n")}, set(package.PACKAGES)),
    (
        {"lambdas/sweep_tasks/sweep.py": ("", "# changed\n"), KIND: ("", "# changed\n")},
        {"SweepTasks", "ProcessTask", "SubmitTask"},
    ),
    ({package.OPENAPI: ("", "x-changed: true\n")}, {"QueryTasks"}),
    ({KIND: ('"simulated"', '"renamed"')}, {"ProcessTask", "SubmitTask", "QueryTasks"}),
)
"""What is replaced in a file (nothing: a line more), one after the other, and the packages that hold it."""


def test_a_changed_file_changes_the_key_of_the_packages_that_hold_it_and_of_no_other(
    built: Built, tmp_path: Path
) -> None:
    checkout, before = a_checkout(tmp_path), built
    for files, functions in CHANGES:
        for name, (old, new) in files.items():
            text = (checkout / name).read_text()
            (checkout / name).write_text(text.replace(old, new) if old else text + new)
        after = build(checkout)
        assert {name for name, key in keys(after).items() if key != keys(before)[name]} == functions, files
        before = after
    kinds_before, kinds_after = (json.loads(_file(one, "QueryTasks", KINDS_JSON)) for one in (built, after))
    assert kinds_after == sorted({*kinds_before, "renamed"} - {"simulated"})
    assert ROOT / KINDS_JSON == kinds.FILE


def test_there_is_a_package_for_every_function_of_the_template(built: Built) -> None:
    template = (ROOT / "bootstrap" / "app.yaml").read_text()
    assert set(built) == set(package.PACKAGES)
    assert all(f"!Ref {function}Package" in template for function in built)
    assert template.count("AWS::Serverless::Function") == len(built)


def test_a_package_holds_its_own_code_the_shared_code_and_the_dependencies(built: Built) -> None:
    for function in built:
        names, own = _names(built, function), package.PACKAGES[function][0]
        assert {f"{own}/handler.py", f"{own}/__init__.py", "lambdas/__init__.py", "lambdas/common/task.py"} <= names
        assert {"aws_lambda_powertools", "fastjsonschema"} <= {name.split("/")[0] for name in names}


def test_a_package_holds_no_metadata_no_machine_code_no_sdk_and_no_other_handler(built: Built) -> None:
    for function in built:
        names = _names(built, function)
        parts = {part for name in names for part in name.split("/")}
        assert not {part for part in parts if part.endswith((".dist-info", ".so"))}, function
        assert not parts & {"bin", "boto3", "botocore", "bootstrap", "tests"}, function
        own = package.PACKAGES[function][0]
        assert {name for name in names if name.endswith("/handler.py") and name.startswith("lambdas/")} == {
            f"{own}/handler.py"
        }


def test_each_source_has_its_bytecode_beside_it_that_is_taken_whatever_the_time_of_the_file(built: Built) -> None:
    for _, path in built.values():
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            compiled = {source_from_cache(name): archive.read(name) for name in names if name.endswith(".pyc")}
            sources = {name: archive.read(name) for name in names if name.endswith(".py")}
        assert set(compiled) == set(sources)
        for name, code in compiled.items():
            # PEP 552: magic number of this Python, "by hash, unchecked", hash of the source.
            assert code[:16] == MAGIC_NUMBER + UNCHECKED + source_hash(sources[name]), name


def test_bytecode_depends_on_the_sources_alone() -> None:
    """Each run has another folder and another seed for hashes, and sets of texts are what a seed would show in."""
    sources = {"a/b.py": b"def among(x: str) -> bool:\n    return x in {'one', 'two', 'three', 'four', 'five'}\n"}
    made = package._bytecode(sources)
    assert set(made) == {cache_from_source("a/b.py")}
    assert all(package._bytecode(sources) == made for _ in range(3))


def test_every_entry_has_the_fixed_date_and_mode_and_a_fixed_place(built: Built) -> None:
    for function, (key, path) in built.items():
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            content = {entry.filename: archive.read(entry) for entry in entries}
        assert {(entry.date_time, entry.external_attr >> 16, entry.create_system) for entry in entries} == {
            ((1980, 1, 1, 0, 0, 0), 0o644, 3)
        }
        names = [entry.filename for entry in entries]
        own = [name for name in names if name.startswith("lambdas/")]
        assert names == [*sorted(names[: -len(own)]), *sorted(own)]
        assert key == f"{function}/{package.content_hash(content)}.zip"


def test_the_order_in_which_files_are_found_does_not_matter(tmp_path: Path) -> None:
    one, two = tmp_path / "one.zip", tmp_path / "two.zip"
    backwards = dict(reversed(CONTENT.items()))
    package.write_zip(one, CONTENT)
    package.write_zip(two, backwards)
    assert one.read_bytes() == two.read_bytes()
    assert package.content_hash(CONTENT) == package.content_hash(backwards)


@pytest.mark.parametrize(
    "other",
    [
        {**CONTENT, "b.py": b"b = 2\n"},
        {**CONTENT, "c.py": b""},
        {"b.py": b"b = 1\n", "a/__init__.py": b""},
        {**CONTENT, "a/__init__.py": CONTENT["b.py"], "b.py": b""},
        {"b.pyb = 1\n": b"", "a/__init__.py": b"", "a/x.py": CONTENT["a/x.py"]},
    ],
    ids=["bytes", "a further file", "a file less", "bytes swapped", "bytes in the name"],
)
def test_other_content_has_another_hash(other: dict[str, bytes]) -> None:
    assert package.content_hash(other) != package.content_hash(CONTENT)


def _file(built: Built, function: str, name: str) -> bytes:
    with zipfile.ZipFile(built[function][1]) as archive:
        return archive.read(name)


def _names(built: Built, function: str) -> set[str]:
    with zipfile.ZipFile(built[function][1]) as archive:
        return set(archive.namelist())
