"""What one run of the `tasks` command works with."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import dataclass

from client.records import Task
from client.screen import Screen
from client.target import Host, Target


@dataclass
class Answer:
    """What one command works with. `submitting` and `waiting` are the task that it is at, for when it is stopped."""

    args: argparse.Namespace
    screen: Screen
    target: Target
    host: Host
    submitting: str | None = None
    waiting: Task | None = None

    def again(self, words: str) -> str:
        """The command to type next, for the same API; the key is not shown."""
        return f"{self.host.typed} {words}" + "".join(f" {shlex.quote(word)}" for word in self.target.given)
