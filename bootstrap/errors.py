"""Errors for people."""

from __future__ import annotations


class BootstrapError(Exception):
    """What happened and why; `hint` is what to type next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint
