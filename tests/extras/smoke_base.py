"""Without extras: list, show and inspect; a command that needs more names the extra."""

from __future__ import annotations

import importlib.util
import json
import subprocess

import zoo

ABSENT = ("keras", "tensorflow", "jax", "tokenizers", "ai_edge_litert", "sklearn", "matplotlib")
FLAGSHIPS = {"caption_attn", "text_attn", "price_attn"}


def cli(*arguments: str, code: int = 0) -> str:
    """Run the installed command and return what it printed."""
    done = subprocess.run(["zoo", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout if code == 0 else done.stderr


for name in ABSENT:
    assert importlib.util.find_spec(name) is None, f"{name} is installed without an extra"

assert set(zoo.list_models()) >= FLAGSHIPS
listed = cli("list")
for name in FLAGSHIPS:
    assert name in listed
    assert name in cli("show", name)
assert "emoji-en" in listed
json.loads(cli("list", "--json"))
cli("--help")
assert "caption_attn" in cli("show", "caption_atn", code=2)
