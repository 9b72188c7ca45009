"""Settings of the functions, read from the environment once, when the function starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping


class SettingError(Exception):
    """An environment variable is missing or has a value that is not allowed."""


class Environment:
    """Reads variables and names the one that is wrong, its value and what is allowed."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def text(self, name: str) -> str:
        value = self._variables.get(name, "")
        if not value:
            raise SettingError(f"{name} is not set; the function's template entry must give it")
        return value

    def words(self, name: str) -> tuple[str, ...]:
        """Parts that commas join; none when the variable is empty."""
        return tuple(word.strip() for word in self._variables.get(name, "").split(",") if word.strip())

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        value = self.text(name)
        if value not in allowed:
            raise SettingError(f"{name} is {value!r}; allowed: {', '.join(allowed)}")
        return value

    def integer(self, name: str, least: int, most: int) -> int:
        return int(self._number(name, int, "a whole number", least, most))

    def number(self, name: str, least: float, most: float) -> float:
        return self._number(name, float, "a number", least, most)

    def _number(self, name: str, convert: Callable[[str], float], what: str, least: float, most: float) -> float:
        text = self.text(name)
        try:
            value = convert(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise SettingError(f"{name} is {text!r}; allowed: {what} from {least} to {most}")
        return value
