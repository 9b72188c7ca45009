"""Put a debugger into a function of the running stack, and everything back as it was. CloudFormation does both.

It never believes something else than what runs, so a plain `make up` also ends with what it deploys: after this process
was killed, for instance.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bootstrap import bucket, console, operate, package, template
from bootstrap.deploy import Deployment
from bootstrap.errors import BootstrapError
from bootstrap.package import Package
from bootstrap.paths import ROOT, cache_dir, local_dir
from bootstrap.stack import Stack
from scripts.debug import changes
from scripts.debug.entry import Order

NEEDED_OF_DEBUGPY = ("*.py", "attach_linux*.so")
"""Its Python, and the library that traces threads which run already. What else is compiled fits one Python only."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """A stack as it was found."""

    body: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Before:
    """Both stacks, as `make up` has deployed them."""

    storage: Deployed
    app: Deployed
    raised: Mapping[str, str]
    """Parameters of the storage stack meanwhile: they are the first to change, and the last to be put back."""


@dataclass(frozen=True)
class Swap:
    """`port` is the one that the function's process listens on."""

    deployment: Deployment
    function: str
    port: int

    def begin(self) -> None:
        """What was found is noted first: whoever comes after a killed process puts that back, not what it left."""
        before = self.before()
        _note().parent.mkdir(parents=True, exist_ok=True)
        _note().write_text(json.dumps(asdict(before)))
        built = self._upload()
        body = json.dumps(self._debugged(template.load(self._written("before.yaml", before.app.body))))
        parameters = {**before.app.parameters, f"{self.function}Package": built.key}
        self._deploy(self.deployment.storage, before.storage.body, before.raised)
        with operate.switches_kept(self.deployment):
            self._deploy(self.deployment.app, body, parameters)

    def end(self) -> bool:
        """Everything as it was. False when somebody did it already, or nothing had begun."""
        if not self.under_way():
            _note().unlink(missing_ok=True)
            return False
        before = self.before()
        with operate.switches_kept(self.deployment):
            self._deploy(self.deployment.app, before.app.body, before.app.parameters)
        self._deploy(self.deployment.storage, before.storage.body, before.storage.parameters)
        _note().unlink()
        return True

    def under_way(self) -> bool:
        """Some function of the stack is debugged, or was when its `make debug` was killed."""
        if changes.is_debugged(self.deployment.app.parameters()):
            return True
        noted = _noted()
        raised = noted is not None and noted.raised != noted.storage.parameters
        return noted is not None and raised and self.deployment.storage.parameters() == noted.raised

    def before(self) -> Before:
        """As deployed; while a function is debugged, as noted, with what is to be raised for the function of now.

        Raises:
            BootstrapError: there is no such note.
        """
        if self.under_way():
            noted = _noted()
            if noted is None:
                raise BootstrapError(
                    "A debugger was left in this stack, without a note of what was before.", "Type `make up`."
                )
            storage, app = noted.storage, noted.app
        else:
            storage, app = self._found(self.deployment.storage), self._found(self.deployment.app)
        return Before(storage, app, changes.storage_parameters(storage.parameters, self.function))

    def _debugged(self, app: template.Document) -> template.Document:
        order = Order(changes.handler_of(app, self.function), self.port, str(ROOT))
        several = "concurrent_batches" in self.deployment.place.target.capabilities
        return changes.debugged(app, self.function, order, several)

    def _found(self, stack: Stack) -> Deployed:
        formation = self.deployment.client("cloudformation")
        body: Any = formation.get_template(StackName=stack.name, TemplateStage="Original")["TemplateBody"]
        return Deployed(body if isinstance(body, str) else json.dumps(body), stack.parameters())

    def _upload(self) -> Package:
        [plain] = [built for built in self.deployment.packages if built.function == self.function]
        built = debug_package(plain)
        name = self.deployment.storage.outputs()["PackageBucketName"]
        bucket.upload(self.deployment.client("s3"), name, [built], console.detail)
        return built

    def _deploy(self, stack: Stack, body: str, parameters: Mapping[str, str]) -> None:
        path = self._written(f"{stack.name}.yaml", body)
        name = self.deployment.storage.outputs().get("PackageBucketName")
        as_taken = bucket.template(self.deployment.client("s3"), name, path)
        plan = stack.plan(as_taken, parameters, self._tags(stack))
        if plan is not None:
            stack.execute(plan)

    def _tags(self, stack: Stack) -> dict[str, str]:
        """As Deployment gives them: a changed tag would be a change of the stack."""
        stage, tags = self.deployment.settings.stage, self.deployment.place.target.stack_tags
        return {key: text.format(stage=stage) for key, text in tags.items()} if stack is self.deployment.app else {}

    def _written(self, name: str, body: str) -> Path:
        path = local_dir() / "debug" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body)
        return path


def debug_package(plain: Package) -> Package:
    """The function's package with debugpy and the entry on top."""
    with zipfile.ZipFile(plain.path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content |= debugger()
    digest = package.content_hash(content)
    path = cache_dir() / "packages" / f"debug-{plain.function}-{digest}.zip"
    if not path.exists():
        unfinished = path.with_suffix(".unfinished")
        package.write_zip(unfinished, content)
        unfinished.replace(path)
    return Package(plain.function, path, f"{changes.PACKAGE_PREFIX}{plain.function}-{digest}.zip")


def debugger() -> dict[str, bytes]:
    """What a package gets on top."""
    found = find_spec("debugpy")
    assert found is not None, "locked in requirements.lock"
    assert found.origin is not None
    folder = Path(found.origin).parent
    files = [path for mask in NEEDED_OF_DEBUGPY for path in folder.rglob(mask)]
    content = {f"debugpy/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in files}
    return {**content, changes.ENTRY_FILE: (ROOT / "scripts/debug/entry.py").read_bytes()}


def _note() -> Path:
    return local_dir() / "debug" / "before.json"


def _noted() -> Before | None:
    """None when there is no note, or half of one: then nothing had been changed yet."""
    try:
        noted = json.loads(_note().read_text())
    except (FileNotFoundError, ValueError):
        return None
    return Before(Deployed(**noted["storage"]), Deployed(**noted["app"]), noted["raised"])
