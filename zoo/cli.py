"""The command line: options come from the same dataclasses as the Python interface.

Exit codes: 0 done, 1 the work failed, 2 bad usage, 143 stopped by SIGTERM after writing a checkpoint. An error made on
purpose is one line, never a traceback.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
import sys
from typing import Any, NoReturn

from zoo.errors import ConfigError, PreemptedError, UnknownNameError, ZooError, unknown_name

_INTERRUPTED = 130
_TERMINATED = 143


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command and exit.

    Args:
        arguments: Words after `zoo`; the process's own when not given.
    """
    # TensorFlow's C++ logging goes to standard error before any Python setting could stop it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        sys.exit(_dispatch(sys.argv[1:] if arguments is None else arguments))
    except (UnknownNameError, ConfigError) as error:
        _complain(error)
        sys.exit(2)
    except PreemptedError as error:
        print(f"zoo: {error}", file=sys.stderr)
        sys.exit(_TERMINATED)
    except ZooError as error:
        _complain(error)
        sys.exit(1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        print("zoo: interrupted; a training goes on from its checkpoint: zoo train --resume RUN.", file=sys.stderr)
        sys.exit(_INTERRUPTED)


def _complain(error: ZooError) -> None:
    print(f"zoo: error: {' '.join(str(error).split())}", file=sys.stderr)


def _dispatch(arguments: list[str]) -> int:
    from zoo.commands import COMMANDS, train_command
    from zoo.commands_data import data_command

    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview(COMMANDS))
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from zoo import __version__

        print(f"attention-zoo {__version__}")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        raise unknown_name("command", name, COMMANDS)
    own_options = {"train": train_command, "data": data_command}
    command = own_options[name](rest) if name in own_options else COMMANDS[name]
    return int(_parse(command, rest, f"zoo {name}").run() or 0)


def _parse(command: type[Any], arguments: list[str], program: str) -> Any:
    """Fill a command's dataclass from words; usage errors become one line and exit code 2."""
    import tyro

    _check_names(command, arguments)
    heard = io.StringIO()
    try:
        with contextlib.redirect_stderr(heard):
            return tyro.cli(command, args=arguments, prog=program, config=(tyro.conf.FlagCreatePairsOff,))
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise ConfigError(f"{_one_line(heard.getvalue())} See '{program} --help'.") from None


def _check_names(command: type[Any], arguments: list[str]) -> None:
    """Answer an unknown `--group.field` with the group's own message, which names the near fields."""
    groups = {
        field.name: field.default_factory()
        for field in dataclasses.fields(command)
        if field.default_factory is not dataclasses.MISSING
    }
    for word in arguments:
        match = re.fullmatch(r"--(\w+)\.([\w-]+)(=.*)?", word)
        if match and match[1] in groups:
            field = match[2].replace("-", "_")
            known = {item.name for item in dataclasses.fields(groups[match[1]])}
            if field not in known and not (field.startswith("no_") and field[3:] in known):
                groups[match[1]].replace(**{field: None})


def _one_line(box: str) -> str:
    """Return the message inside tyro's box, up to its first rule."""
    lines = [line.strip("│ ").strip() for line in box.splitlines()]
    body = [line for line in lines if line and not line.startswith(("╭", "╰"))]
    message: list[str] = []
    for line in body:
        if line.startswith("─"):
            break
        message.append(line)
    return " ".join(message).rstrip(".") + "."


def _overview(commands: dict[str, type[Any]]) -> str:
    width = max(map(len, commands))
    lines = [
        "usage: zoo COMMAND ...",
        "",
        "Attention models that end up as one .tflite file that does the whole task.",
        "",
    ]
    lines += [f"  {name:<{width}}  {(cls.__doc__ or '').strip().splitlines()[0]}" for name, cls in commands.items()]
    lines += ["", "'zoo COMMAND --help' shows a command's options; 'zoo train NAME --help' those of a model."]
    return "\n".join(lines)
