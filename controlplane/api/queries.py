"""What may be asked of the API: the parameters of its questions, and what each may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from multidict import MultiMapping
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from controlplane.admin.paging import Page
from controlplane.api.models import State
from controlplane.apis.kind_names import kind_names
from controlplane.apis.problems import UNKNOWN, problems_of
from controlplane.documents.nearest import nearest_text

MOST_ITEMS = 500
_USUAL_ITEMS = 100
_LONGEST_TEXT = 500
_LONGEST_URL = 2_000

Text = Annotated[str, StringConstraints(max_length=_LONGEST_TEXT)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=_LONGEST_TEXT)]
Url = Annotated[str, StringConstraints(min_length=1, max_length=_LONGEST_URL)]
Digits = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}$")]


OTHER_KINDS = (
    "ConfigMap", "EndpointSlice", "Ingress", "IngressClass", "Namespace", "Node", "Pod", "Secret", "Service",
    "ServiceAccount",
)  # fmt: skip
"""Kubernetes' own that are read, and may be wrong."""
_WORDS = {UNKNOWN: "there is no such parameter", "extra inputs are not permitted": "there is no such parameter"}


_NO_CHOICE = "string should match pattern '^("


def _in_words(reason: str) -> str:
    """Return why a parameter cannot be used, without words of the library that has read it."""
    if reason.startswith(_NO_CHOICE):
        choices = reason.removeprefix(_NO_CHOICE).partition(")")[0].split("|")
        return f"it is one of {', '.join(filter(None, choices))}"
    return _WORDS.get(reason, reason)


class WrongQueryError(ValueError):
    """A question that cannot be read; the message names the parameter and what it may be."""


class Query(BaseModel):
    """Parameters of a question; one that is not known is an error, so that no filter is passed over in silence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def of(cls, asked: MultiMapping[str], path: Mapping[str, str]) -> Self:
        """Read a URL's query and what its path names.

        Raises:
            WrongQueryError: it is not what it may be.
        """
        values: dict[str, Any] = {}
        for name in asked:
            held = asked.getall(name)
            if name in cls.lists():
                values[name] = held
            elif len(held) > 1:
                raise WrongQueryError(f"?{name}= may come once, and comes {len(held)} times")
            else:
                values[name] = held[0]
        try:
            return cls.model_validate({**values, **path})
        except ValidationError as error:
            first = problems_of(error)[0]
            raise WrongQueryError(f"?{first.path}=: {_in_words(first.reason)}") from error

    @classmethod
    def lists(cls) -> frozenset[str]:
        """Return the names of the parameters that may come several times."""
        return frozenset()


class NoQuery(Query):
    """A question without parameters."""


class Paged(Query):
    """A question for a list."""

    limit: int = Field(_USUAL_ITEMS, ge=1, le=MOST_ITEMS, strict=False, description="How many items at most")
    after: str = Field("", max_length=_LONGEST_URL, description="Where the page begins: from `next` of the page before")

    @property
    def page(self) -> Page:
        """The part of the list that is asked for.

        Raises:
            BadPageError: `after` is something else.
        """
        return Page.of({"limit": str(self.limit), "after": self.after})


class ProxiesQuery(Paged):
    """Which proxies."""

    namespace: Text = Field("", description="Only those of this namespace")
    name: Text = Field("", description="Only those whose id has this text in it")
    state: State | None = Field(None, description="Only those in this state")
    troubled: bool = Field(default=False, description="Only those that are not in order")


class ProxyQuery(Query):
    """Which proxy: by connection, by id, or by a part of a connection that only it has."""

    id: Word = Field(description="`POD.NAMESPACE`, or an id of a connection")


_TYPES = ("CDS", "EDS", "LDS", "RDS", "VHDS", "SDS", "ECDS", "NDS", "PCDS")
_TYPE = Field(pattern=f"^({'|'.join(_TYPES)})$", description=", ".join(f"`{name}`" for name in _TYPES))


class ResourcesQuery(Paged):
    """Which resources of a proxy."""

    id: Word = Field(description="`POD.NAMESPACE`, or an id of a connection")
    type: str = _TYPE
    name: Text = Field("", description="Only those whose name has this text in it")


class ComparisonQuery(Paged):
    """Which proxies are compared, and what of them."""

    one: Word = Field(description="`POD.NAMESPACE`, or an id of a connection")
    other: Word = Field(description="The same of the proxy that it is compared with")
    type: str = Field(
        "", pattern=f"^({'|'.join(_TYPES)}|)$", description="Only resources of this type, as `CDS`; of all without"
    )


class ResourceQuery(Query):
    """Which resource of a proxy."""

    id: Word = Field(description="`POD.NAMESPACE`, or an id of a connection")
    type: str = _TYPE
    name: Annotated[str, StringConstraints(min_length=1, max_length=_LONGEST_URL)] = Field(description="Its name")


def _kind(text: str) -> str:
    """Return the kind that is meant; of Kubernetes' own those that are read have problems, too."""
    found = kind_names().get(text.lower(), text if text in OTHER_KINDS else "")
    if text and not found:
        every = {*kind_names().values(), *OTHER_KINDS}
        raise ValueError(f"there is no kind {text!r}{nearest_text(text, sorted(every))}")
    return found


def _whole_name(text: str) -> str:
    """Return the name of a kind that may be written as kubectl takes it; there is no object of one that is unknown."""
    return kind_names().get(text.lower(), text)


class ObjectsQuery(Paged):
    """Which objects."""

    kind: Annotated[Text, AfterValidator(_kind)] = Field(
        "", description="Only those of this kind, as `VirtualService`, `virtualservices` or `vs`"
    )
    namespace: Text = Field("", description="Only those of this namespace")
    name: Text = Field("", description="Only those whose name has this text in it")
    troubled: bool = Field(default=False, description="Only those with problems")


class ObjectQuery(Query):
    """Which object; `kind` is one of Istio's."""

    kind: Annotated[Word, AfterValidator(_whole_name)] = Field(
        description="As `VirtualService`, `virtualservices` or `vs`"
    )
    namespace: Word
    name: Word


class FindingsQuery(Paged):
    """Which problems."""

    namespace: Text = Field("", description="Only those of objects of this namespace")
    level: str = Field("", pattern="^(Error|Warning|Info|)$", description="Only those of this level")
    code: Text = Field("", description="Only those with this code")


class ServicesQuery(Paged):
    """Which services."""

    namespace: Text = Field("", description="Only those of this namespace")
    name: Text = Field("", description="Only those whose host name has this text in it")


class ServiceQuery(Query):
    """Which service: a host name, and the namespace of the object that states it."""

    namespace: Word
    hostname: Word


class EventsQuery(Query):
    """Which events."""

    after: int = Field(0, ge=0, le=2**53, description="Only those with a greater number")


class TopologyQuery(Query):
    """Which part of the picture."""

    namespace: Text = Field("", description="Only services of this namespace, and what they have to do with")


class ExplainQuery(Query):
    """A request, and whose it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=False, validate_by_alias=True)

    from_: Word = Field(
        alias="from", description="`pod/NAMESPACE/NAME`, `gateway/NAMESPACE/NAME`, `namespace/NAMESPACE`"
    )
    url: Url = Field(description="As `http://reviews:9080/api`")
    method: Word = "GET"
    header: list[Url] = Field(default_factory=list, description="`name: value`; may come several times")
    as_: Text = Field("", alias="as", description="Whose certificate the caller shows: `sa/NAMESPACE/NAME`")
    source: Text = Field("", description="The address that the request comes from")

    @classmethod
    def lists(cls) -> frozenset[str]:
        """Headers may come several times."""
        return frozenset({"header"})


class EffectQuery(Query):
    """An object."""

    object: Word = Field(description="`KIND/NAMESPACE/NAME`, kinds as kubectl takes them")
