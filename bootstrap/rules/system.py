"""The two templates under the parameters of one deploy, as the rules look at them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

from bootstrap.kinds import Kind
from bootstrap.rules.sources import Code
from bootstrap.template import Reference, Resource, Template, TemplateError

WORKER = "ProcessTask"
"""The function that claims tasks and works on the messages of a batch side by side."""
MOST_RETENTION_SECONDS = 1_209_600
"""14 days (SQS quotas)."""


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    properties: Mapping[str, Any]

    @property
    def timeout(self) -> int:
        return whole(self.properties, "Timeout", 3, self.name)

    @property
    def variables(self) -> Mapping[str, Any]:
        environment: Mapping[str, Mapping[str, Any]] = self.properties.get("Environment", {})
        return environment.get("Variables", {})

    @property
    def folder(self) -> str:
        """Its own code: `lambdas.submit_task.handler.handle` -> `lambdas/submit_task`."""
        return "/".join(str(self.properties["Handler"]).split(".")[:-2])


@dataclass(frozen=True, slots=True)
class Source:
    """An event source mapping: a queue whose messages a function gets."""

    name: str
    function: Function
    queue: Resource
    properties: Mapping[str, Any]

    @property
    def batch_size(self) -> int:
        return whole(self.properties, "BatchSize", 10, self.name)

    @property
    def window(self) -> int:
        return whole(self.properties, "MaximumBatchingWindowInSeconds", 0, self.name)

    @property
    def visibility(self) -> int:
        return whole(self.queue.properties, "VisibilityTimeout", 30, self.queue.name)


@dataclass(frozen=True, slots=True)
class Route:
    """A method of the API."""

    function: str
    event: str
    path: str
    method: str
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Schedule:
    """A rule by which EventBridge calls a function."""

    function: str
    event: str


@dataclass(frozen=True)
class System:
    """Storage and app, with the parameters that this deploy gives them."""

    storage: Template
    app: Template
    kinds: Sequence[Kind]
    attempts: int
    """The most that a task of any kind may have."""
    code: Code
    today: date
    stage: str
    watched: bool
    """With alarms: FIXED=low leaves them out."""

    @cached_property
    def resources(self) -> Mapping[str, Resource]:
        return {**self.storage.resources, **self.app.resources}

    def of_type(self, *types: str) -> list[Resource]:
        return [*self.storage.of_type(*types), *self.app.of_type(*types)]

    @cached_property
    def functions(self) -> Mapping[str, Function]:
        found = self.of_type("AWS::Serverless::Function", "AWS::Lambda::Function")
        return {resource.name: Function(resource.name, resource.properties) for resource in found}

    @cached_property
    def sources(self) -> Sequence[Source]:
        return [*self._mappings(), *self._events()]

    def _mappings(self) -> Iterator[Source]:
        for mapping in self.of_type("AWS::Lambda::EventSourceMapping"):
            function = self._named(mapping.properties["FunctionName"], mapping.name)
            queue = self._named(mapping.properties["EventSourceArn"], mapping.name)
            yield Source(mapping.name, self.functions[function.name], queue, mapping.properties)

    def _events(self) -> Iterator[Source]:
        for function, event, properties in self._events_of("SQS"):
            queue = self._named(properties["Queue"], f"{function}{event}")
            yield Source(f"{function}{event}", self.functions[function], queue, properties)

    @cached_property
    def routes(self) -> Sequence[Route]:
        return [
            Route(function, event, properties["Path"], str(properties["Method"]).upper(), properties)
            for function, event, properties in self._events_of("Api")
        ]

    @cached_property
    def schedules(self) -> Sequence[Schedule]:
        return [Schedule(function, event) for function, event, _ in self._events_of("Schedule")]

    def _events_of(self, kind: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        for function in self.functions.values():
            for event, declared in function.properties.get("Events", {}).items():
                if declared["Type"] == kind:
                    yield function.name, event, declared.get("Properties", {})

    def _named(self, value: Any, asks: str) -> Resource:
        if not isinstance(value, Reference) or value.resource not in self.resources:
            raise TemplateError(f"{asks} refers to {value}, which is no resource of the two templates")
        return self.resources[value.resource]

    @cached_property
    def dead_letter_queues(self) -> Mapping[str, Resource]:
        """Queue -> where SQS moves what was received too often."""
        policies = {queue.name: queue.properties.get("RedrivePolicy") for queue in self.of_type("AWS::SQS::Queue")}
        return {name: self._named(policy["deadLetterTargetArn"], name) for name, policy in policies.items() if policy}


def whole(properties: Mapping[str, Any], name: str, default: int, resource: str) -> int:
    """A property that is a whole number; `default` is what AWS takes where there is none."""
    value = properties.get(name, default)
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise TemplateError(f"{resource}: {name} is {value}, which is no whole number") from error
