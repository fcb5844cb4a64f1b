"""``/debug/taskz``: what of the control plane itself does not work, our own page.

``ready`` and ``reason`` are those of ``/ready``, ``problems`` sentences on what else does not work. ``tasks`` has one
element for each task that is begun again when it fails: the values of ``TaskState``, with times in RFC 3339.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from controlplane.admin.sources import AdminSources
from controlplane.model.tasks import TaskState


def tasks_view(sources: AdminSources) -> dict[str, Any]:
    """Return the page, tasks sorted by name."""
    ready, reason = sources.ready()
    problems = [each for each in sources.troubles() if each != reason]
    tasks = sorted(sources.tasks(), key=lambda task: task.name)
    return {"ready": ready, "reason": reason, "problems": problems, "tasks": [_task(task) for task in tasks]}


def _task(task: TaskState) -> dict[str, Any]:
    failed_at = datetime.fromtimestamp(task.failed_at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "name": task.name,
        "running": task.running,
        "failures": task.failures,
        "failed_at": failed_at if task.failures else None,
        "problem": task.problem,
    }
