"""Options of a command from a TOML file: ``--config run.toml``, and ``--save-config`` to write one.

A key is an option's name without the dashes, its value what would stand after it; ``shots``,
``methods``, ``milestones``, ``features`` and ``backbone`` may be lists, ``slurm`` is a table. What
is given on the command line wins.
"""

from __future__ import annotations

import json
import shlex
import tomllib
from pathlib import Path
from typing import Any

import click

from repro.system import storage
from repro.system.errors import UsageError, unknown

LISTS = ("backbone", "features", "milestones", "methods", "shots")
TABLE = "slurm"
# Nothing in a file decides whose code runs, or who may run code here.
COMMAND_LINE_ONLY = ("address", "method")
_OWN = ("config", "save-config", "help")


class ConfigCommand(click.Command):
    """A command with ``--config`` and ``--save-config``."""

    def __init__(self, *words: Any, **options: Any) -> None:
        super().__init__(*words, **options)
        of_files = [
            click.Option(["--config"], type=click.Path(path_type=Path), expose_value=False,
                         metavar="FILE.toml", help="Read options from this file."),
            click.Option(["--save-config"], type=click.Path(path_type=Path), expose_value=False,
                         metavar="FILE.toml", help="Write options to this file; run nothing."),
        ]  # fmt: skip
        self.params += of_files

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given, _, _ = self.make_parser(ctx).parse_args(list(args))
        if "help" in given:
            return super().parse_args(ctx, args)
        if given.get("config"):
            ctx.default_map = {**(ctx.default_map or {}), **read(Path(given["config"]), self)}
        if given.get("save_config"):
            path = Path(given["save_config"])
            left_out = write(path, self, ctx, given)
            command = f"{ctx.command_path} {shlex.join(['--config', str(path), *left_out])}"
            click.echo(f"{path} is written, nothing was run; `{command}` runs it")
            ctx.exit()
        return super().parse_args(ctx, args)


def _by_key(command: click.Command) -> dict[str, click.Parameter]:
    """The options of a command by their names in a file."""
    found = {}
    for param in command.params:
        for name in param.opts:
            if name.startswith("--"):
                found[name[2:]] = param
    return {key: param for key, param in found.items() if key not in _OWN}


def read(path: Path, command: click.Command) -> dict[str, Any]:
    """The options of a file, by the names of the command's parameters.

    Raises:
        UsageError: the file cannot be read, or has a key or value that the command does not.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"the config file {path} cannot be read ({error.strerror}); give a file that exists"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the config file {path} is not TOML ({error})") from error
    known = _by_key(command)
    found = {}
    for key, value in content.items():
        if key not in known:
            raise UsageError(f"{path}: {unknown('option', key, known)}")
        if key in COMMAND_LINE_ONLY:
            raise UsageError(
                f"{path}: {key} belongs on the command line, so that no file decides whose code "
                f"runs; leave it out and add --{key}"
            )
        if key == TABLE:
            found[TABLE] = _pairs(path, value)
            continue
        found[str(known[key].name)] = _checked(path, key, value, known[key])
    return found


def _pairs(path: Path, value: Any) -> tuple[str, ...]:
    """A table as the words of an option that is given several times."""
    if not isinstance(value, dict) or not all(type(v) in (str, int) for v in value.values()):
        raise UsageError(f"{path}: {TABLE} is a table of text and whole numbers, not {value!r}")
    return tuple(f"{name}={v}" for name, v in value.items())


def _checked(path: Path, key: str, value: Any, param: click.Parameter) -> Any:
    """A value as click takes it; text is converted there."""
    if isinstance(value, list) and key in LISTS:
        value = ",".join(map(str, value))
    is_flag = isinstance(param, click.Option) and param.is_flag
    fits = isinstance(value, bool) if is_flag else (
        isinstance(value, str | int | float) and not isinstance(value, bool)
    )  # fmt: skip
    if not fits:
        wanted = "true or false" if is_flag else "text or a number"
        wanted += ", or a list of them" if key in LISTS else ""
        raise UsageError(f"{path}: {key} is {wanted}, not {value!r}")
    if key == "methods" and ".py" in value:
        raise UsageError(
            f"{path}: methods names a file's code ({value}); give --methods on the "
            "command line, so that no file decides whose code runs"
        )
    return value if is_flag else str(value)


def write(
    path: Path, command: click.Command, ctx: click.Context, given: dict[str, Any]
) -> list[str]:  # fmt: skip
    """Write the options that a call has: given, from a config file, then defaults.

    Returns:
        What was given and a file may not say, as words of a command line.
    Raises:
        UsageError: the file is there already. click.BadParameter: a value does not fit.
    """
    if path.exists():
        raise UsageError(f"{path} exists already and is left as it is; name another file")
    lines, left_out = [f"# {ctx.command_path} --config {path.name}"], []
    last: list[str] = []  # a table ends the keys before it
    for key, param in _by_key(command).items():
        name = str(param.name)
        value = given.get(name, (ctx.default_map or {}).get(name))
        if key in COMMAND_LINE_ONLY or (key == "methods" and ".py" in str(value)):
            for each in [value] if isinstance(value, str) else value or ():
                left_out += [f"--{key}", str(each)]
            continue
        if key == TABLE:
            table = [pair.partition("=") for pair in value or ()]
            last = [f"{name} = {_toml(v)}" for name, _, v in table]
            continue
        value = param.get_default(ctx) if value is None else param.type_cast_value(ctx, value)
        if isinstance(value, bool | int | float | str | Path):
            lines.append(f"{key} = {_toml(value)}")
    if last:
        lines += [f"[{TABLE}]", *last]
    storage.write_text(path, "\n".join(lines) + "\n")
    return left_out


def _toml(value: bool | int | float | str | Path) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    # A string of JSON is one of TOML but for this character.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
