"""Gives rules to the kernel, all of a family at once, and takes them away again."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence

from controlplane.agent.interception import nftables
from controlplane.agent.interception.command_line import Request
from controlplane.agent.interception.options import IPV4, IPV6, Host, Options
from controlplane.agent.interception.restore import removal, restore_text
from controlplane.agent.interception.rules import Family, Rule, families, rules

_TIMEOUT_SECONDS = 30


class ApplyError(Exception):
    """The kernel did not take rules; the message has the words of the program that was asked."""


def carry_out(request: Request, host: Host, tell: Callable[[str], None]) -> None:
    """Do what is asked for, and tell which rules that are.

    Rules that are there already, all of them, are left as they are.

    Raises:
        ApplyError: rules could not be made. Those of one family are made together or not at all.
    """
    if not request.apply:
        return
    made = {family: rules(request.options, host, family) for family in families(request.options, host)}
    if request.nftables:
        text = nftables.removal(made) if request.cleanup else nftables.transaction(made)
        tell(f"# nft -f -\n{text}")
        if not request.dry_run:
            _run(["nft", "-f", "-"], text)
    elif request.cleanup:
        _clean_up(request, made, tell)
    else:
        _restore(request, made, tell)
    if request.options.tproxy and not request.dry_run and not request.cleanup:
        _route(request.options, made)


def _restore(request: Request, made: Mapping[Family, Sequence[Rule]], tell: Callable[[str], None]) -> None:
    for family, held in made.items():
        command = _command(request, family, "-restore")
        text = restore_text(held)
        tell(f"# {command} --noflush\n{text}")
        if request.dry_run or (not request.force and _stands(request, family, held)):
            continue
        _run([command, "--noflush"], text)


def _clean_up(request: Request, made: Mapping[Family, Sequence[Rule]], tell: Callable[[str], None]) -> None:
    for family, held in made.items():
        command = _command(request, family, "")
        for arguments in removal(held):
            tell(f"{command} {' '.join(arguments)}\n")
            if not request.dry_run:  # what is not there need not go
                _ended([command, *arguments])


def _stands(request: Request, family: Family, held: Sequence[Rule]) -> bool:
    """Whether each rule is there already; none of our chains means no."""
    command = _command(request, family, "")
    for rule in held:
        asked = [command, "-t", rule.table, "-C", rule.chain, *rule.body.split()]
        if _ended(asked).returncode != 0:
            return False
    return bool(held)


def _route(options: Options, made: Mapping[Family, Sequence[Rule]]) -> None:
    """Deliver marked packets here, whatever address they are for."""
    for family in made:
        version, everywhere = (("-4", "0.0.0.0/0"), ("-6", "::/0"))[family.version == IPV6]
        table = options.tproxy_table
        for arguments in (
            ("rule", "add", "fwmark", options.tproxy_mark, "lookup", table),
            ("route", "replace", "local", everywhere, "dev", "lo", "table", table),
        ):
            _run(["ip", version, *arguments], "", allowed="File exists")


def _run(command: Sequence[str], text: str, allowed: str = "") -> None:
    ended = _ended(command, text)
    if ended.returncode != 0 and not (allowed and allowed in ended.stderr):
        words = ended.stderr.strip() or f"ended with {ended.returncode}"
        raise ApplyError(f"{' '.join(command)}: {words}")


def _ended(command: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program with a text as its input until it has ended; raise ``ApplyError`` where that is not to be had."""
    try:
        return subprocess.run(  # noqa: S603 - our own arguments
            command,
            input=text,
            text=True,
            errors="replace",
            capture_output=True,
            check=False,
            timeout=_TIMEOUT_SECONDS,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise ApplyError(f"{command[0]}: {error}") from error


def _command(request: Request, family: Family, ending: str) -> str:
    """Return the program for a family: the one asked for, else that of nftables if it is there, else the plain one."""
    plain = "iptables" if family.version == IPV4 else "ip6tables"
    if request.binary:
        return f"{plain}-{request.binary}{ending}"
    modern = f"{plain}-nft{ending}"
    return modern if shutil.which(modern) else f"{plain}{ending}"
