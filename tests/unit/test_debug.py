"""`make debug`: what changes of the stack, what goes into the package, and the line from a debugger to a worker."""

from __future__ import annotations

import copy
import importlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bootstrap import console, package, template
from bootstrap.deploy import APP_TEMPLATE
from bootstrap.errors import BootstrapError
from bootstrap.package import PACKAGES
from bootstrap.paths import ROOT
from lambdas.common.kinds import Registry
from lambdas.process_task.attempt import Worker
from scripts.debug import __main__ as debug
from scripts.debug import changes, entry
from scripts.debug.__main__ import CONFIGURATION, DEFAULT_PORT, Wanted, wanted
from scripts.debug.entry import ALIVE, ORDER, WAKE, Order
from scripts.debug.relay import INSIDE, Relay, ThisMachine, answers
from scripts.debug.swap import debugger
from tests.support.tasks import a_task
from tests.support.waiting import eventually

APP = template.load(APP_TEMPLATE)
AN_ORDER = Order("lambdas.process_task.handler.handle", 4000, "/checkout")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, Wanted("ProcessTask", DEFAULT_PORT)),
        ({"FN": "monitor-dlq", "DEBUG_PORT": "6000", "TARGET": "embedded"}, Wanted("MonitorDlq", 6000)),
        ({"FN": "", "DEBUG_PORT": "", "TARGET": ""}, Wanted("ProcessTask", DEFAULT_PORT)),
    ],
    ids=["nothing said", "all said", "said with nothing"],
)
def test_what_is_not_said_has_a_default(variables: dict[str, str], expected: Wanted) -> None:
    assert wanted(variables) == expected


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"FN": "foo"}, "FN is 'foo'; there are: monitor_dlq, process_task"),
        ({"TARGET": "aws"}, "nobody pauses a function of an account"),
        ({"DEBUG_PORT": "80"}, "DEBUG_PORT is '80'; allowed: 1024 to 65535"),
        ({"DEBUG_PORT": "x"}, "DEBUG_PORT is 'x'"),
        ({"DEBUG_PORT": "65536"}, "DEBUG_PORT is '65536'"),
    ],
)
def test_what_makes_no_sense_is_refused(variables: dict[str, str], words: str) -> None:
    with pytest.raises(BootstrapError, match=words):
        wanted(variables)


def test_vs_code_attaches_where_make_debug_listens_under_the_name_that_it_says() -> None:
    configurations = json.loads((ROOT / ".vscode/launch.json").read_text())["configurations"]
    [found] = [one for one in configurations if one["name"] == CONFIGURATION]
    assert found["connect"] == {"host": "127.0.0.1", "port": DEFAULT_PORT}
    assert "pathMappings" not in found


def test_vs_code_knows_by_what_make_debug_prints_when_it_begins_is_ready_and_fails(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tasks = json.loads((ROOT / ".vscode/tasks.json").read_text())["tasks"]
    [matcher] = [one["problemMatcher"] for one in tasks if one["label"] == "debug a function"]
    with console.step(debug._title("dev-process-task", "ProcessTask")):
        debug._explain(DEFAULT_PORT)
    began, ready, *_ = capsys.readouterr().out.splitlines()
    assert re.search(matcher["background"]["beginsPattern"], began)
    assert re.search(matcher["background"]["endsPattern"], ready)
    assert not re.search(matcher["background"]["endsPattern"], began)
    console.fail("the stack is down", "make up")
    said = capsys.readouterr().err.splitlines()[0]
    found = re.search(matcher["pattern"]["regexp"], said)
    assert found is not None
    assert found[matcher["pattern"]["message"]] == "the stack is down"


def test_vs_code_offers_each_function() -> None:
    [choice] = json.loads((ROOT / ".vscode/tasks.json").read_text())["inputs"]
    assert {"".join(map(str.title, name.split("_"))) for name in choice["options"]} == set(PACKAGES)


# What changes of the stack. -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", PACKAGES)
def test_the_debugger_stands_in_front_of_one_function_and_nothing_else_of_the_others_changes(function: str) -> None:
    before = copy.deepcopy(APP)
    changed = changes.debugged(APP, function, AN_ORDER, concurrent_batches=True)
    properties = changed["Resources"][function]["Properties"]
    assert (properties["Handler"], properties["Timeout"]) == (changes.HANDLER, changes.PAUSE_SECONDS)
    variables = properties["Environment"]["Variables"]
    assert json.loads(variables[ORDER]) == asdict(AN_ORDER)
    assert variables.items() >= APP["Resources"][function]["Properties"]["Environment"]["Variables"].items()
    different = {name for name in APP["Resources"] if changed["Resources"][name] != APP["Resources"][name]}
    assert different == {function, *(["ProcessTaskMessages"] if function == "ProcessTask" else [])}
    assert before == APP, "the template that was found is not touched"


@pytest.mark.parametrize("function", ["ProcessTask", "MonitorDlq"])
@pytest.mark.parametrize("concurrent_batches", [True, False])
def test_a_queue_hands_out_one_message_at_a_time(function: str, concurrent_batches: bool) -> None:
    before, after = (
        mapping(APP, function),
        mapping(changes.debugged(APP, function, AN_ORDER, concurrent_batches), function),
    )
    one_worker = {"MaximumConcurrency": 1} if concurrent_batches else before["ScalingConfig"]
    assert after == {**before, "BatchSize": 1, "ScalingConfig": one_worker}


def mapping(app: template.Document, function: str) -> Any:
    if function == "ProcessTask":
        return app["Resources"]["ProcessTaskMessages"]["Properties"]
    return app["Resources"][function]["Properties"]["Events"]["Messages"]["Properties"]


@pytest.mark.parametrize(
    ("function", "deployed", "expected"),
    [
        ("ProcessTask", {"QueueVisibilitySeconds": "24", "DlqVisibilitySeconds": "180"}, ("960", "180")),
        ("ProcessTask", {"QueueVisibilitySeconds": "5400", "DlqVisibilitySeconds": "180"}, ("5400", "180")),
        ("MonitorDlq", {"QueueVisibilitySeconds": "24", "DlqVisibilitySeconds": "180"}, ("24", "960")),
        ("SubmitTask", {"QueueVisibilitySeconds": "24", "DlqVisibilitySeconds": "180"}, ("24", "180")),
    ],
)
def test_a_message_stays_hidden_for_longer_than_a_pause(
    function: str, deployed: dict[str, str], expected: tuple[str, str]
) -> None:
    found = changes.storage_parameters({"Stage": "dev", **deployed}, function)
    assert (found["QueueVisibilitySeconds"], found["DlqVisibilitySeconds"]) == expected
    assert found["Stage"] == "dev"


def test_a_stack_is_known_to_be_debugged_by_the_key_of_a_package() -> None:
    assert changes.is_debugged({"Stage": "dev", "ProcessTaskPackage": "debug/ProcessTask-1.zip"})
    assert not changes.is_debugged({"Stage": "debug", "ProcessTaskPackage": "ProcessTask/1.zip"})
    assert not changes.is_debugged({})


# What goes into the package. ------------------------------------------------------------------------------------------


def test_the_package_gets_the_entry_and_a_debugger_that_fits_every_python() -> None:
    content = debugger()
    assert content[changes.ENTRY_FILE] == (ROOT / "scripts/debug/entry.py").read_bytes()
    assert "debugpy/__init__.py" in content
    assert "debugpy/_vendored/pydevd/pydevd.py" in content
    compiled = {Path(name).name for name in content if not name.endswith(".py")}
    assert all(name.startswith("attach_linux") for name in compiled), compiled
    assert sum(map(len, content.values())) < package.UNZIPPED_BYTES / 10


# In front of the handler. ---------------------------------------------------------------------------------------------


@pytest.fixture
def function(tmp_path: Path) -> Iterator[Path]:
    """An unzipped package whose one module is called like none of ours."""
    unzipped = tmp_path / "unzipped"
    module = unzipped / entry.CODE / "debugged_for_a_test"
    module.mkdir(parents=True)
    for folder in (module, module.parent):
        (folder / "__init__.py").touch()
    (module / "handler.py").write_text(
        "import inspect\n\n\ndef handle(event, context):\n    return inspect.currentframe().f_code.co_filename, event\n"
    )
    with importing(unzipped):
        yield unzipped


@contextmanager
def importing(unzipped: Path) -> Iterator[None]:
    """As in a worker: the package's `lambdas` is the one that is found; afterwards ours is again."""
    ours = {name: module for name, module in sys.modules.items() if name.split(".")[0] == entry.CODE}
    hooks, path, variables = list(sys.path_hooks), list(sys.path), dict(os.environ)
    for name in ours:
        del sys.modules[name]
    sys.path.insert(0, str(unzipped))
    try:
        yield
    finally:
        sys.path_hooks[:], sys.path[:] = hooks, path
        sys.path_importer_cache.clear()
        for name in [name for name in sys.modules if name.split(".")[0] == entry.CODE]:
            del sys.modules[name]
        sys.modules.update(ours)
        os.environ.clear()
        os.environ.update(variables)


def test_modules_are_known_by_their_names_in_the_checkout(function: Path) -> None:
    entry.name_as_in("/checkout", function)
    module = importlib.import_module(f"{entry.CODE}.debugged_for_a_test.handler")
    assert module.handle("an event", None) == ("/checkout/lambdas/debugged_for_a_test/handler.py", "an event")
    assert module.__file__ == str(function / "lambdas/debugged_for_a_test/handler.py")
    assert not list(Path(module.__file__).parent.rglob("*.pyc")), "a bytecode file would bring the other name back"


def test_the_real_handler_answers_all_but_the_call_that_wakes_a_worker(
    function: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listened: list[int] = []

    def listen(asked: entry.Debugger) -> str:
        listened.append(asked._port)
        return "it is taken"

    monkeypatch.setattr(entry.Debugger, "listen", listen)
    checkout = tmp_path / "checkout"
    order = Order(f"{entry.CODE}.debugged_for_a_test.handler.handle", 4000, str(checkout))
    handle = entry.prepare({ORDER: json.dumps(asdict(order))}, function)
    assert handle(WAKE, None) == {"pid": os.getpid(), "obstacle": "it is taken"}
    name, event = handle({"Records": []}, None)
    assert (Path(name), event) == (checkout / "lambdas/debugged_for_a_test/handler.py", {"Records": []})
    assert Path(name).exists(), "a debugger takes no breakpoint in a file that is not there"
    assert listened == [4000] * 3, "at the start, and again while another worker has the port"


@pytest.mark.parametrize("package", [ROOT, ROOT / "tests"], ids=["of ProcessTask", "of another function"])
def test_the_time_out_of_a_kind_does_not_count_while_somebody_looks(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Worker, "_ends_at", Worker._ends_at)
    registry = Registry()
    registry.kind("quick", schema={}, timeout_seconds=1)(lambda work: None)
    worker: Any = SimpleNamespace(registry=registry, now=lambda: 0)
    entry.without_time_outs(package)
    assert Worker._ends_at(worker, a_task(kind="quick"), 900_000) == (900_000 if package == ROOT else 1000)


def test_files_are_laid_out_where_there_is_no_checkout_and_never_over_one(function: Path, tmp_path: Path) -> None:
    absent, present, name = tmp_path / "absent", tmp_path / "present", "lambdas/debugged_for_a_test/handler.py"
    (present / name).parent.mkdir(parents=True)
    (present / name).write_text("mine")
    for checkout in (absent, present):
        entry.lay_out(checkout, function)
    assert (absent / name).read_text() == (function / name).read_text()
    assert (present / name).read_text() == "mine"

    (function / name).write_text("the next session's")
    entry.lay_out(absent, function)
    assert (absent / name).read_text() == "the next session's"


# From a debugger to a worker. -----------------------------------------------------------------------------------------


class Echo:
    """A worker: greets, then says everything back."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.gone = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def open(self) -> socket.socket:
        return socket.create_connection(self.server.getsockname())

    def _serve(self) -> None:
        try:
            line, _ = self.server.accept()
        except OSError:  # nobody came before the test ended
            return
        with line:
            line.sendall(b"hello ")
            while data := line.recv(4096):
                line.sendall(data)
        self.gone.set()


@pytest.fixture
def echo() -> Iterator[Echo]:
    made = Echo()
    with closing(made.server):
        yield made


def test_what_a_debugger_says_reaches_the_worker_and_back_and_both_ends_end_together(echo: Echo) -> None:
    said: list[str] = []
    relay = Relay(0, echo.open, said.append)
    relay.serve()
    with socket.create_connection(("127.0.0.1", relay.port)) as debugger:
        debugger.sendall(b"world")
        assert read(debugger, len(b"hello world")) == b"hello world"
        assert said == ["A debugger attached."]
    assert echo.gone.wait(60)
    eventually(lambda: said, lambda said: said[1:] == ["The debugger is gone; what was paused goes on."])
    relay.close()


def test_closing_the_relay_ends_every_line_so_that_a_paused_worker_goes_on(echo: Echo) -> None:
    relay = Relay(0, echo.open, lambda text: None)
    relay.serve()
    with socket.create_connection(("127.0.0.1", relay.port)) as debugger:
        assert read(debugger, len(b"hello ")) == b"hello "
        relay.close()
        assert debugger.recv(1) == b""
        assert echo.gone.wait(60)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", relay.port))


@contextmanager
def outlived(port: int) -> Iterator[None]:
    """debugpy's process beside a worker which was killed."""
    with socket.create_server(("127.0.0.1", port)):
        yield


@contextmanager
def worker(port: int) -> Iterator[None]:
    with outlived(port), socket.create_server(("127.0.0.1", port + ALIVE)):
        yield


def opened_here(port: int) -> bool:
    ThisMachine().open(port).close()
    return True


def opened_in_a_container(port: int) -> bool:
    """What runs there."""
    command = [sys.executable, "-c", INSIDE, str(port), str(port + ALIVE)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise ConnectionRefusedError(done.stderr)
    return done.stdout == b"+"


@pytest.mark.parametrize("opened", [opened_here, opened_in_a_container])
def test_what_outlives_a_killed_worker_is_none(opened: Callable[[int], bool]) -> None:
    port = ThisMachine().free_port()
    with pytest.raises(ConnectionRefusedError), outlived(port):
        opened(port)
    with worker(port):
        assert opened(port)


def test_of_two_workers_the_second_says_that_it_is_no_debugger_until_the_first_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listened: list[tuple[str, int]] = []
    monkeypatch.setitem(sys.modules, "debugpy", SimpleNamespace(listen=listened.append))
    port = ThisMachine().free_port()
    second = entry.Debugger(port)
    with worker(port):
        assert "in use" in second.listen()
    assert listened == []
    assert [second.listen(), second.listen()] == ["", ""]
    assert listened == [("127.0.0.1", port)], "debugpy refuses a second time"
    assert second._alive is not None
    second._alive.close()


def test_a_worker_whose_debugger_does_not_start_says_why_and_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = ["timed out waiting for adapter to connect"]

    def listen(where: tuple[str, int]) -> None:
        if found:
            raise RuntimeError(found.pop())

    monkeypatch.setitem(sys.modules, "debugpy", SimpleNamespace(listen=listen))
    slow = entry.Debugger(ThisMachine().free_port())
    assert slow.listen() == "timed out waiting for adapter to connect"
    assert slow.listen() == ""
    assert slow._alive is not None
    slow._alive.close()


class Doors:
    """One after the other: what opening the door to the worker comes to."""

    def __init__(self, *found: socket.socket | OSError) -> None:
        self.found = list(found)

    def free_port(self) -> int:
        return ThisMachine().free_port()

    def open(self, port: int) -> socket.socket:
        found = self.found.pop(0) if len(self.found) > 1 else self.found[0]
        if isinstance(found, OSError):
            raise found
        return found


def session(door: Any) -> debug.Session:
    """Of a function on an AWS that is not there."""
    options = {"endpoint_url": f"http://127.0.0.1:{door.free_port()}", "region_name": "eu-west-1"}
    place = SimpleNamespace(
        client_options=lambda: {**options, "aws_access_key_id": "test", "aws_secret_access_key": "test"}
    )
    deployment = SimpleNamespace(place=place, outputs=lambda with_key: {"functions": {"ProcessTask": "a-function"}})
    swap: Any = SimpleNamespace(port=4000, function="ProcessTask", deployment=deployment)
    return debug.Session(swap, door)


def test_a_worker_is_woken_where_nobody_listens_and_only_there(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[debug.Session] = []

    def wake(of: debug.Session) -> str:
        woken.append(of)
        return ""

    monkeypatch.setattr(debug.Session, "wake", wake)
    silent, gone = socket.socketpair()
    gone.close()
    door = Doors(TimeoutError("the engine is slow"), silent, ConnectionRefusedError(), echo.open())
    with session(door).dial() as line:
        assert read(line, len(b"hello ")) == b"hello "
    assert len(woken) == 1, "to wake one where another may be at work would start a second"


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (ConnectionRefusedError(), "the port is another's"),
        (TimeoutError("the engine is slow"), "the engine is slow"),
    ],
)
def test_why_no_worker_can_be_had_is_said(found: OSError, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debug, "DIAL_SECONDS", 0.1)
    monkeypatch.setattr(debug.Session, "wake", lambda self: "the port is another's")
    with pytest.raises(BootstrapError, match=f"no worker listens after 0.1 s: {why}"):
        session(Doors(found)).dial()


def test_a_worker_that_cannot_be_woken_is_said_and_does_not_end_the_relay() -> None:
    said: list[str] = []
    relay = Relay(0, session(Doors(ConnectionRefusedError())).dial, said.append)
    relay.serve()
    with socket.create_connection(("127.0.0.1", relay.port)) as debugger:
        assert debugger.recv(1) == b""
    relay.close()
    [line] = said
    assert line.startswith("A debugger came, and no worker was there: AWS call failed: Could not connect")


def test_a_port_that_is_taken_is_said_at_once(echo: Echo) -> None:
    port = echo.server.getsockname()[1]
    with pytest.raises(BootstrapError, match=f"Port {port} is taken") as refused:
        Relay(port, echo.open, lambda text: None)
    assert refused.value.hint == f"Stop that, or type `make debug DEBUG_PORT={port + 1}`."


def test_a_line_on_which_nobody_speaks_any_more_is_none(echo: Echo) -> None:
    with echo.open() as line:
        assert answers(line)
        assert read(line, len(b"hello ")) == b"hello ", "it was only looked at"
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        assert not answers(ours)


def read(line: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        got = line.recv(length - len(data))
        assert got, f"it ended after {data!r}"
        data += got
    return data
