from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DeltaRequest(_message.Message):
    __slots__ = ("node", "type_url", "resource_names_subscribe", "resource_names_unsubscribe", "initial_resource_versions", "response_nonce", "error_detail")
    class Error(_message.Message):
        __slots__ = ("code", "message")
        CODE_FIELD_NUMBER: _ClassVar[int]
        MESSAGE_FIELD_NUMBER: _ClassVar[int]
        code: int
        message: str
        def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...
    NODE_FIELD_NUMBER: _ClassVar[int]
    TYPE_URL_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_NAMES_SUBSCRIBE_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_NAMES_UNSUBSCRIBE_FIELD_NUMBER: _ClassVar[int]
    INITIAL_RESOURCE_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_NONCE_FIELD_NUMBER: _ClassVar[int]
    ERROR_DETAIL_FIELD_NUMBER: _ClassVar[int]
    node: bytes
    type_url: str
    resource_names_subscribe: _containers.RepeatedScalarFieldContainer[bytes]
    resource_names_unsubscribe: _containers.RepeatedScalarFieldContainer[bytes]
    initial_resource_versions: _containers.RepeatedScalarFieldContainer[bytes]
    response_nonce: str
    error_detail: DeltaRequest.Error
    def __init__(self, node: _Optional[bytes] = ..., type_url: _Optional[str] = ..., resource_names_subscribe: _Optional[_Iterable[bytes]] = ..., resource_names_unsubscribe: _Optional[_Iterable[bytes]] = ..., initial_resource_versions: _Optional[_Iterable[bytes]] = ..., response_nonce: _Optional[str] = ..., error_detail: _Optional[_Union[DeltaRequest.Error, _Mapping]] = ...) -> None: ...

class HeldVersion(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
