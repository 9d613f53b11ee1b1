"""What goes in and what comes out: one task a file."""

from __future__ import annotations

from zoo.errors import unknown_name
from zoo.registry import _load_package
from zoo.tasks._base import Examples, Lesson, Requests, Serving, Signature, Task

__all__ = ["Examples", "Lesson", "Requests", "Serving", "Signature", "Task", "get_task", "task_names"]


def _tasks() -> dict[str, Task]:
    return {name: module.TASK for name, module in _load_package("zoo.tasks").items()}


def task_names() -> list[str]:
    """Return the names of the tasks (the files of `zoo/tasks/`)."""
    return sorted(_tasks())


def get_task(name: str) -> Task:
    """Return a task by name.

    Raises:
        UnknownNameError: If there is none.
    """
    tasks = _tasks()
    if name not in tasks:
        raise unknown_name("task", name, tasks)
    return tasks[name]
