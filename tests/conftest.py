"""What several kinds of test share: the stacks they run on, and which of them a run takes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.internal.conjecture import providers

from bootstrap.paths import ROOT
from bootstrap.targets import TARGETS
from tests.support import localstack
from tests.support import stack as stacks
from tests.support.account import Account, an_account
from tests.support.stack import DeployedStack

# The same cases in every run, and no limit on how long one may take on a busy machine. Hypothesis would also draw
# constants of those modules that are loaded, which depends on the tests that ran before in the same process.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")
providers._get_local_constants = lambda: providers._local_constants

# A user's settings (`make` exports `.env`) and AWS profile are not those of the tests.
for name in os.environ.keys() - stacks.environment().keys():
    del os.environ[name]
os.environ.update(stacks.environment())

TESTS = ROOT / ".local" / "tests"
BACKENDS = ("embedded", "localstack")
ON_BACKENDS = ("stack", "table", "own")
"""Fixtures whose parameter names a backend."""
QUICK = ("unit", "contract", "integration")
"""Folders that `make test` runs, on the embedded AWS."""
SHARING = ("local_aws",)
"""Folders whose modules share a stack of their own for each local AWS."""
ORDER = ("local_aws", "integration/faults", "integration", "contract", "", "integration/test_schedule.py")
"""What waits longest begins first, beside what computes; what needs an old stack begins last."""
LAST_LINE = pytest.StashKey[str]()
NEEDS = (
    "needs(capability): skipped on a target that lacks this capability (bootstrap/targets.py), and listed at the end"
)
EMBEDDED = "embedded: a test of both local AWSs, or a row of it, of which LocalStack would show nothing more"


@pytest.fixture(scope="session", params=BACKENDS)
def stack(request: pytest.FixtureRequest) -> DeployedStack:
    """A stack deployed for this run of the tests by `python -m bootstrap`, with fast settings."""
    found: DeployedStack = request.getfixturevalue(f"{request.param}_stack")
    return found


@pytest.fixture(scope="session")
def embedded_stack() -> Iterator[DeployedStack]:
    """On the embedded AWS, which `up` starts itself. Each test process has its own."""
    with _deployed("embedded", None) as stack:
        yield stack


@pytest.fixture(scope="session")
def localstack_stack() -> Iterator[DeployedStack]:
    """On LocalStack in a container."""
    with local_aws("localstack") as port, _deployed("localstack", port) as stack:
        yield stack


@contextmanager
def local_aws(backend: str) -> Iterator[int | None]:
    """The port of a LocalStack container of its own; None for the embedded AWS, which `up` starts itself."""
    if backend == "embedded":
        yield None
        return
    image, why = _image()
    if image is None:
        localstack.cannot_be_had(why)
    with localstack.container(image) as port:
        yield port


@contextmanager
def own_stack(backend: str, name: str, settings: Mapping[str, str], swept: bool = True) -> Iterator[DeployedStack]:
    """A stack of a module's own. `swept`: the sweeper runs every minute, else only when a test says so."""
    folder = stacks.new_folder(TESTS, name)
    with local_aws(backend) as port:
        try:
            stack = stacks.deploy(folder, backend, port, **settings)
            if not swept:
                stacks.unschedule(stack)
            yield stack
        finally:
            stacks.remove(folder)


@contextmanager
def _deployed(target: str, port: int | None) -> Iterator[DeployedStack]:
    stacks.remove_leftovers(TESTS)
    folder = stacks.new_folder(TESTS, target)
    try:
        yield stacks.deploy(folder, target, port)
    finally:
        stacks.remove(folder)


@cache
def _image() -> tuple[str | None, str]:
    return localstack.image()


@pytest.fixture
def local_folder() -> Iterator[Path]:
    """A folder for a local AWS of a test's own; whatever the test started in it is stopped."""
    folder = stacks.new_folder(TESTS, "own")
    yield folder
    stacks.remove(folder)


@pytest.fixture
def account(
    stack: DeployedStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Account]:
    """A local AWS in the place of an account, for what runs on AWS alone."""
    yield from an_account(stack, monkeypatch, tmp_path, capsys)


@pytest.fixture
def quick(
    embedded_stack: DeployedStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Account]:
    """The same on the embedded AWS."""
    yield from an_account(embedded_stack, monkeypatch, tmp_path, capsys)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--on", choices=BACKENDS, help="only what needs no local AWS but this one")
    parser.addoption("--rest", action="store_true", help="only what `make test` leaves out")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", NEEDS)
    config.addinivalue_line("markers", EMBEDDED)


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Take the tests that are asked for, and skip what a target cannot do.

    The tests of a module stay together on one worker, so that its fixtures are made once, and so do all that share the
    one stack on LocalStack.
    """
    config.hook.pytest_deselected(items=[item for item in items if not _is_asked_for(item, config)])
    items[:] = [item for item in items if _is_asked_for(item, config)]
    for item in items:
        backend = _backend(item)
        for marker in item.iter_markers("needs"):
            capability = marker.args[0]
            if backend and capability not in TARGETS[backend].capabilities:
                item.add_marker(pytest.mark.skip(reason=f"{backend} lacks {capability}"))
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    yield
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    """The one stack on LocalStack is the longest way of all."""
    path = item.path.relative_to(ROOT / "tests").as_posix()
    place = max((start for start in ORDER if path.startswith(start)), key=len)
    return -1 if _is_shared(item) and place != ORDER[-1] else ORDER.index(place)


def _group(item: pytest.Item) -> str:
    """What one process runs, from its first test to its last."""
    backend, folder = _backend(item), item.path.parent.name
    if _is_shared(item):
        return "localstack"
    return f"{folder if backend and folder in SHARING else item.path.stem}-{backend}"


def _is_shared(item: pytest.Item) -> bool:
    return _backend(item) == "localstack" and "own" not in getattr(item, "fixturenames", ())


def _is_asked_for(item: pytest.Item, config: pytest.Config) -> bool:
    backend, only = _backend(item), config.getoption("--on")
    if backend == "localstack" and item.get_closest_marker("embedded"):
        return False
    quick = item.path.relative_to(ROOT / "tests").parts[0] in QUICK and backend != "localstack"
    return backend in (None, only or backend) and not (quick and config.getoption("--rest"))


def _backend(item: pytest.Item) -> str | None:
    """The local AWS that a test runs on, by the parameter of its fixture; None for a test that needs none."""
    callspec = getattr(item, "callspec", None)
    used = {callspec.params.get(fixture) for fixture in ON_BACKENDS} if callspec else set()
    return next((backend for backend in BACKENDS if backend in used), None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reason in sorted({_reason(report) for report in terminalreporter.stats.get("skipped", [])}):
        if " lacks " in reason:
            names = [r.nodeid.split("::")[-1] for r in terminalreporter.stats["skipped"] if _reason(r) == reason]
            terminalreporter.write_line(f"Not tested, {reason}: {', '.join(sorted(set(names)))}")
    if any("localstack" in report.nodeid for report in terminalreporter.stats.get("failed", [])):
        terminalreporter.write_line(f"LocalStack's logs are kept in {localstack.LOGS.relative_to(ROOT)}/")
    ran = _passed_on_localstack(terminalreporter)
    if ran:
        terminalreporter.write_line(f"LocalStack: {ran} tests passed on {_image()[0]}")
    elif any("localstack" in report.nodeid for report in terminalreporter.stats.get("skipped", [])):
        hint = "make localstack-image" if "cannot be had" in _image()[1] else "TARGET=localstack make up"
        terminalreporter.config.stash[LAST_LINE] = f"LocalStack: NOT RUN ({_image()[1]}) - type `{hint}`"


def pytest_unconfigure(config: pytest.Config) -> None:
    """Below pytest's own summary, where nobody overlooks it."""
    if LAST_LINE in config.stash:
        print(config.stash[LAST_LINE])


def _passed_on_localstack(reporter: pytest.TerminalReporter) -> int:
    """Tests in a container; unit tests need none, whatever their parameters are called."""
    passed = [report.nodeid for report in reporter.stats.get("passed", [])]
    return sum("[localstack" in nodeid and not nodeid.startswith("tests/unit/") for nodeid in passed)


def _reason(report: pytest.TestReport) -> str:
    return str(report.longrepr[-1]).removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""
