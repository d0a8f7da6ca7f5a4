"""The runbooks name only commands and options that exist."""

from __future__ import annotations

import re

import pytest
from django.core.management import get_commands, load_command_class

from config.stack.paths import PROJECT_ROOT

_COMMAND = re.compile(r"manage\.py ([a-z_]+)([^`\n#]*)")
# What may stand between two options of one command: a subcommand, an id, a quoted reason.
_OPTION = re.compile(r"--[a-z-]+")


def named() -> list[tuple[str, tuple[str, ...]]]:
    """Each command in the runbooks with the options that follow it."""
    text = (PROJECT_ROOT / "docs" / "runbooks.md").read_text()
    found = {(name, tuple(_OPTION.findall(re.sub(r"'[^']*'", "", rest)))) for name, rest in _COMMAND.findall(text)}
    return sorted(found)


def options_of(name: str) -> set[str]:
    command = load_command_class(get_commands()[name], name)
    parser = command.create_parser("manage.py", name)
    nested = [
        each for action in parser._actions if isinstance(action.choices, dict) for each in action.choices.values()
    ]
    return {option for each in (parser, *nested) for action in each._actions for option in action.option_strings}


@pytest.mark.parametrize(("name", "options"), named())
def test_it_exists_with_its_options(name: str, options: tuple[str, ...]) -> None:
    assert name in get_commands()
    assert set(options) <= options_of(name)


def test_there_are_some() -> None:
    assert len(named()) >= 12
