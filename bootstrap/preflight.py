"""Before any call: does what is about to be deployed keep the rules of AWS, and our own?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

from bootstrap import console, template
from bootstrap.errors import BootstrapError
from bootstrap.kinds import Kind, most_attempts, schedules, table_arns
from bootstrap.package import PACKAGES
from bootstrap.paths import ROOT
from bootstrap.rules import callers, data, functions, permissions, queues, watching
from bootstrap.rules.rule import Finding, Rule
from bootstrap.rules.sources import Code
from bootstrap.rules.system import System
from bootstrap.settings import Settings

FOLDER = ROOT / "bootstrap"
TABLE_ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/{stage}-tasks"
CODE = Code(ROOT)
RULES: Sequence[Rule] = [
    found
    for module in (queues, data, permissions, callers, functions, watching)
    for found in vars(module).values()
    if isinstance(found, Rule)
]
"""In the order of their modules."""

Broken = tuple[Rule, Finding]


def require(settings: Settings, kinds: Sequence[Kind]) -> None:
    """Go on only when nothing is wrong. The settings are those fitted to the kinds.

    Raises:
        BootstrapError: with every finding, its rule and its page.
    """
    broken = check(system(settings, kinds, datetime.now(UTC).date()))
    if broken:
        told = "\n".join(f"  {_told(finding)}\n    {rule.name}, {rule.page}" for rule, finding in broken)
        raise BootstrapError(
            f"Preflight stopped the deploy, nothing was changed:\n{told}",
            "Mend the template or the setting named, then type `python -m bootstrap preflight`.",
        )


def check(system: System) -> list[Broken]:
    return [(rule, finding) for rule in RULES for finding in rule.check(system)]


def system(settings: Settings, kinds: Sequence[Kind], today: date) -> System:
    """The templates as they would be deployed with these settings."""
    storage = template.load(FOLDER / "storage.yaml")
    return resolved(storage, template.load(FOLDER / "app.yaml"), settings, kinds, today)


def resolved(
    storage_document: template.Document,
    app_document: template.Document,
    settings: Settings,
    kinds: Sequence[Kind],
    today: date,
    code: Code = CODE,
) -> System:
    """What storage answers is given to app, as a deploy does it."""
    storage = template.resolve(storage_document, "storage.yaml", settings.storage)
    declared = app_document["Parameters"]
    handed_on = {name: value for name, value in storage.outputs.items() if name in declared}
    effect_tables = table_arns(kinds, TABLE_ARN.format(stage=settings.stage), settings.stage)
    packages = {f"{function}Package": f"{function}/of-this-build.zip" for function in PACKAGES}
    of_kinds = {"EffectTableArns": ",".join(effect_tables), "Schedules": schedules(kinds)}
    given = {**settings.app, **handed_on, **packages, **of_kinds}
    return System(
        storage,
        template.resolve(app_document, "app.yaml", given),
        kinds,
        most_attempts(kinds, int(settings.app["MaxRetries"]) + 1),
        code,
        today,
        settings.stage,
        watched=settings.app["Fixed"] != "low",
    )


def show(settings: Settings, kinds: Sequence[Kind]) -> bool:
    """Every rule with its page, and what breaks it. True when nothing does."""
    broken = check(system(settings, kinds, datetime.now(UTC).date()))
    for rule in RULES:
        findings = [finding for by, finding in broken if by is rule]
        console.say(f"{'broken' if findings else 'kept':7}{rule.name}", "bold red" if findings else "green")
        console.detail(f"     {rule.says}")
        console.detail(f"     {rule.title}: {rule.page}")
        for finding in findings:
            console.say(f"       {_told(finding)}", "bold red")
    console.say(f"{len(RULES)} rules, {len(broken)} findings.", "bold")
    return not broken


def _told(finding: Finding) -> str:
    return f"{finding.resource}: {finding.wrong}. Right: {finding.right}."
