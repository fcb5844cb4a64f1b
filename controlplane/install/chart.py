"""Renders a Helm chart of ours as Helm would. Reference: the functions and built-in objects of Helm's templates.

A chart's files are read from this package. Of Helm's functions there are those of ``gotemplate``, ``include``,
``toYaml`` and ``fromYaml``; of its objects ``Values``, ``Release`` and ``Chart``. Tests compare all with Helm itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import Unreadable, UnreadableError
from controlplane.documents.yaml_reader import yaml_documents, yaml_value
from controlplane.documents.yaml_writer import yaml_text
from controlplane.gotemplate import sprig
from controlplane.gotemplate.errors import TemplateError
from controlplane.gotemplate.evaluate import Template
from controlplane.gotemplate.values import plain
from controlplane.install.errors import RefusedInputError

Json = dict[str, Any]

_NO_VALUE = "<no value>"  # what Go says of a value that is not there; Helm leaves it out
_CHARTS = files("controlplane.install") / "charts"


@dataclass(frozen=True, slots=True)
class Release:
    """What one rendering is for. ``service`` is who renders, as Helm calls itself ``Helm``."""

    name: str
    namespace: str = "istio-system"
    service: str = "controlplane"


@dataclass(frozen=True, slots=True)
class Chart:
    """The files of one chart: ``templates`` by name, ``helpers`` are definitions that each of them may use."""

    name: str
    description: Json
    values: Json
    schema: Json
    helpers: str
    templates: Mapping[str, str]

    def texts(self, values: Mapping[str, Any], release: Release) -> dict[str, str]:
        """Return what each template makes of values, which are laid over those of the chart.

        Raises:
            RefusedInputError: a template fails; says where.
        """
        data = {
            "Values": laid_over(self.values, values),
            "Release": {"Name": release.name, "Namespace": release.namespace, "Service": release.service},
            "Chart": {"Name": self.name, "Version": self.description["version"],
                      "AppVersion": self.description["appVersion"]},
        }  # fmt: skip
        renderer = _Renderer(self.helpers)
        return {name: self._rendered(renderer, name, text, deepcopy(data)) for name, text in self.templates.items()}

    def objects(self, values: Mapping[str, Any], release: Release) -> list[Json]:
        """Return the objects that the chart makes of values.

        Raises:
            RefusedInputError: a template fails, or makes no YAML of objects.
        """
        made: list[Json] = []
        for name, text in self.texts(values, release).items():
            for each in yaml_documents(text):
                if isinstance(each, Unreadable):
                    raise RefusedInputError(f"chart {self.name}: {name} makes no YAML: {each.reason}")
                if isinstance(each.value, dict):
                    made.append(each.value)
        return made

    def _rendered(self, renderer: _Renderer, name: str, text: str, data: Json) -> str:
        try:
            return renderer.template(name, text).render(data).replace(_NO_VALUE, "")
        except TemplateError as error:
            raise RefusedInputError(f"chart {self.name}: {error}") from error


class _Renderer:
    """The templates of one chart, each read once."""

    def __init__(self, helpers: str) -> None:
        self._helpers = helpers
        self._included: dict[str, Template] = {}
        self._functions: Mapping[str, Callable[..., Any]] = {
            **sprig.FUNCTIONS,
            "toYaml": _to_yaml,
            "fromYaml": _from_yaml,
            "include": self._include,
        }

    def template(self, name: str, text: str) -> Template:
        return Template(name, text, self._functions, self._helpers)

    def _include(self, name: Any, value: Any) -> str:  # noqa: ANN401 - any values
        if name not in self._included:
            self._included[name] = self.template(str(name), f"{{{{ template {json.dumps(name)} . }}}}")
        return self._included[name].render(value)


@cache
def chart(name: str) -> Chart:
    """Return a chart of this package."""
    folder = _CHARTS / name
    templates = {each.name: each.read_text("utf-8") for each in (folder / "templates").iterdir() if each.is_file()}
    helpers = "".join(templates.pop(each) for each in sorted(templates) if each.endswith(".tpl"))
    return Chart(
        name,
        yaml_value((folder / "Chart.yaml").read_text("utf-8")),
        yaml_value((folder / "values.yaml").read_text("utf-8")),
        json_value((folder / "values.schema.json").read_text("utf-8")),
        helpers,
        {each: templates[each] for each in sorted(templates)},
    )


def laid_over(base: Mapping[str, Any], given: Mapping[str, Any]) -> Json:
    """Return values with others laid over them, key by key; ``null`` takes one away, and a list is one value."""
    result = dict(base)
    for key, value in given.items():
        old = result.get(key)
        if value is None:
            result.pop(key, None)
        elif isinstance(old, Mapping) and isinstance(value, Mapping):
            result[key] = laid_over(old, value)
        else:
            result[key] = deepcopy(value)
    return result


def _to_yaml(value: Any) -> str:  # noqa: ANN401 - any value
    return yaml_text(plain(value))


def _from_yaml(value: Any) -> Any:  # noqa: ANN401 - any value
    try:
        return yaml_value(str(value))
    except UnreadableError as error:
        return {"Error": str(error)}
