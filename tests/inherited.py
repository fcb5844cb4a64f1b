"""What the tests inherit from the shell, or the CI system, that started them: they behave the same under all of them.

Variables that change what our commands, or libraries in them, do; how signals are dealt with; the mask of new files.
"""

from __future__ import annotations

import codecs
import locale
import os
import resource
import signal
import sys
import types

VARIABLES = {
    "proxies": ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "grpc_proxy", "no_grpc_proxy"),
    "output": ("no_color", "force_color", "clicolor", "clicolor_force", "term", "columns", "lines", "tty_compatible"),
    "Kubernetes": ("kubeconfig", "kubernetes_service_host", "kubernetes_service_port", "pod_name", "pod_namespace"),
    "the language": ("lang", "language", "tz"),
    "what Python does": (
        "pythonwarnings",
        "pythonunbuffered",
        "pythondevmode",
        "pythonasynciodebug",
        "pythontracemalloc",
    ),
}
"""Names in lower case; upper case is meant too."""
PREFIXES = ("CONTROLPLANE_", "LC_", "GRPC_", "PYTHONPROFILE")
FILE_MASK = 0o022
DESCRIPTORS = 1024
"""Open files that the tests need at most, of the process and of each child."""


class UnfitError(Exception):
    """The tests would fail for a reason that is not in them; the message says what to do."""


def settle() -> None:
    """Make this process, and so its children, independent of who started it. Raises ``UnfitError`` where it cannot."""
    if not sys.flags.utf8_mode and codecs.lookup(locale.getpreferredencoding(do_setlocale=False)).name != "utf-8":
        raise UnfitError("the tests write and read files in UTF-8, which is not that of this locale: set PYTHONUTF8=1")
    _forget_variables()
    _settle_signals()
    _raise_limit()
    os.umask(FILE_MASK)


def _forget_variables() -> None:
    names = {name for group in VARIABLES.values() for name in group}
    for name in list(os.environ):
        if name.lower() in names or name.startswith(PREFIXES):
            del os.environ[name]
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # as controlplane sets it, whose package tests import after gRPC


def _settle_signals() -> None:
    """Give children the usual reaction to signals, which they have where this process does not ignore or block them.

    A shell without job control lets its background jobs ignore SIGINT. This process goes on to, but by a function,
    which children do not inherit. SIGHUP stays as it is: `nohup` means the children too.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, _ignore)
    for number in (signal.SIGTERM, signal.SIGCHLD):  # who ignores the latter never learns how its children ended
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGCHLD})


def _ignore(number: int, frame: types.FrameType | None) -> None:
    """Do nothing."""


def _raise_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
        raise UnfitError(f"`ulimit -Hn` is {hard}: the tests need {DESCRIPTORS} open files")
    if soft != resource.RLIM_INFINITY and soft < DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))
