"""Templates of paths, by the rules of the Envoy that matches them.

Envoy ends at once, with all its connections, where a policy (RBAC) has one that it cannot read; a route with such a
template it refuses. Versions of Envoy differ in what may stand behind an open part without a slash between: here is
what all of them take. Reference: envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig.
"""

from __future__ import annotations

import re2

_LITERAL = r"[-a-zA-Z0-9._~%!$&'()+,;:@=]+"
_PART = rf"(?:\*\*|\*|{_LITERAL})"
_NAME = r"[a-zA-Z][a-zA-Z0-9_]{0,15}"
_SEGMENT = rf"(?:{_PART}|\{{{_NAME}(?:={_PART}(?:/{_PART})*)?\}})"
_TEMPLATE = re2.compile(rf"/(?:{_SEGMENT}(?:/{_SEGMENT})*(?:/|{_LITERAL})?)?")
_OPEN = re2.compile(rf"\*\*|\*|\{{{_NAME}\}}")
_NAMES = re2.compile(rf"\{{({_NAME})")
_MOST_NAMES = 5


def path_template_problem(template: str) -> str:
    """Why Envoy cannot read a template, or an empty text.

    One begins with a slash, and each part between slashes is plain text or open. Open are ``*``, one segment, ``**``,
    any number of them, and ``{name}`` or ``{name=a/*}``, which have a name. Behind ``**`` there is only plain text.
    """
    if not template.startswith("/"):
        return "must begin with /"
    if _TEMPLATE.fullmatch(template) is None:
        return "has a part that is neither plain text, *, ** nor a {name}"
    if "**" in _OPEN.findall(template)[:-1]:
        return "has more than plain text behind **"
    names = _NAMES.findall(template)
    if len(names) > _MOST_NAMES:
        return f"has {len(names)} names; Envoy takes {_MOST_NAMES}"
    return "" if len(set(names)) == len(names) else "has a name twice"
