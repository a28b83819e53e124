"""The command's reference, from its own help."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer.main

from stigma_cli.app import app
from stigma_cli.lazy_commands import loaded
from tools.docs.markdown import code, head, one_line, table

NAME = "stigma"


def page() -> str:
    """Return the page."""
    return "\n".join(_lines()).rstrip() + "\n"


def _lines() -> Iterator[str]:
    command: Any = typer.main.get_command(app)
    yield from head("The `stigma` command", "packages/stigma-cli")
    yield from _paragraphs(command.help)
    yield "[stigma-cli](../../packages/stigma-cli/README.md) says how agents are written as files;"
    yield "[Configuration](configuration.md#callers-and-the-stigma-command) lists the variables."
    yield ""
    yield from _described(command, NAME)


def _described(command: Any, name: str) -> Iterator[str]:
    for child_name, child in ((name, loaded(each)) for name, each in command.commands.items()):
        full = f"{name} {child_name}"
        if hasattr(child, "commands"):
            yield from _described(child, full)
            continue
        yield f"## {full}"
        yield ""
        yield f"`{' '.join([full, *_usage(child)])}`"
        yield ""
        yield from _paragraphs(child.help)
        rows = [_row(parameter) for parameter in child.params]
        if rows:
            yield from table(("", "default", ""), rows)


def _usage(command: Any) -> Iterator[str]:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    if len(arguments) < len(command.params):
        yield "[OPTIONS]"
    for argument in arguments:
        shown = _metavar(argument)
        written = shown if argument.required else f"[{shown}]"
        yield f"{written}..." if argument.nargs == -1 and shown.isalpha() else written


def _row(parameter: Any) -> tuple[str, str, str]:
    if parameter.param_type_name == "argument":
        return code(_metavar(parameter)), "", parameter.help or ""
    names = ", ".join(sorted(parameter.opts, key=len, reverse=True))
    flag = parameter.is_flag
    written = names if flag else f"{names} {_metavar(parameter)}"
    variable = f" Variable: `{parameter.envvar}`." if parameter.envvar else ""
    return code(written), _default(parameter), f"{parameter.help or ''}{variable}"


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if parameter.is_flag or parameter.default in (None, ""):
        return ""
    value = parameter.default
    return code(str(getattr(value, "value", value)))


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in (text or "").split("\n\n"):
        yield one_line(paragraph)
        yield ""
