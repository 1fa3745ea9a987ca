"""The installed contracts: every service and method with its options, read from descriptor sets.

A distribution adds a contract by an entry point in the group `enginehouse.contracts` that names the package in which
its `descriptors.binpb` lies; `enginehouse/api/options/v1/options.proto` describes the options. Gateway and router read
all of them once, at start: what they ask during a request are lookups in plain dictionaries.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import importlib.metadata
import importlib.resources
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar, cast

from google.api import annotations_pb2
from google.protobuf import descriptor, descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from enginehouse.api.options.v1 import options_pb2
from enginehouse.kit.config import ConfigError
from enginehouse.kit.pricing import MAX_NAMED_UNITS, UNIT_NAME, UNITS

ENTRY_POINTS = "enginehouse.contracts"
"""The group of entry points by which a distribution adds a contract."""
DESCRIPTORS = "descriptors.binpb"
"""The file that holds a contract, in the package that the entry point names."""

_OURS = "enginehouse.api"
_HTTP_BODY = "google.api.HttpBody"
_TASK = re.compile(r"[a-z0-9][a-z0-9-]{0,63}").fullmatch
_VERBS = ("get", "put", "post", "delete", "patch")
_Option = TypeVar("_Option", bound=enum.Enum)
_INTEGERS = frozenset(
    {
        descriptor.FieldDescriptor.CPPTYPE_INT32,
        descriptor.FieldDescriptor.CPPTYPE_INT64,
        descriptor.FieldDescriptor.CPPTYPE_UINT32,
        descriptor.FieldDescriptor.CPPTYPE_UINT64,
    }
)


class Exposure(enum.Enum):
    """Who serves a service and who may call it."""

    ENGINE = options_pb2.EXPOSURE_UNSPECIFIED
    INTERNAL = options_pb2.EXPOSURE_INTERNAL
    ROUTER = options_pb2.EXPOSURE_ROUTER


class Body(enum.Enum):
    """The way in which a request travels to the decision."""

    MESSAGE = options_pb2.BODY_UNSPECIFIED
    MEDIA = options_pb2.BODY_MEDIA
    HEADERS = options_pb2.BODY_HEADERS


@dataclasses.dataclass(frozen=True, slots=True)
class CountedUnit:
    """A unit that an engine counts for a method.

    Attributes:
        name: as catalogs price it.
        max_field: the request's field that says how many it may use at most; empty for none.
        default_max: how many a request may use that does not say; 0 for no default.
    """

    name: str
    max_field: str
    default_max: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A method with its options.

    Attributes:
        path: the full method, as "/package.Service/Method".
        service: the service's full name.
        request_type: the full name of the request message.
        client_streaming: whether the client streams.
        http: verb and path template of each HTTP form.
        task: what a model does here; empty where no model serves the method.
        body: how the request travels to the decision.
        model_field: which field of the request names the model.
        capabilities: what the model must be able to do.
        free: whether the call costs nothing.
        replayable: whether a kept answer may be given.
        units: what the engine counts beside the units that the task implies.
    """

    path: str
    service: str
    request_type: str
    client_streaming: bool
    http: Sequence[tuple[str, str]]
    task: str
    body: Body
    model_field: str
    capabilities: frozenset[str]
    free: bool
    replayable: bool
    units: Sequence[CountedUnit]

    @property
    def raw(self) -> bool:
        """True if the request is bytes of another format (`google.api.HttpBody`), such as JSON or a form."""
        return self.request_type == _HTTP_BODY


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service with its options.

    Attributes:
        name: its full name.
        exposure: who serves it and who may call it.
        openai_errors: whether errors over HTTP have OpenAI's form.
        methods: its methods, in the contract's order.
    """

    name: str
    exposure: Exposure
    openai_errors: bool
    methods: Sequence[Method]


class Contracts:
    """Every installed contract.

    Attributes:
        files: the descriptors of all contracts with their imports, each file once, imports first.
        services: by full name.
        methods: by path.
        tasks: what methods do, each word once, in order.
        capabilities: the words that methods ask of models.
        units: the names of the units that methods count.
    """

    def __init__(self, files: descriptor_pb2.FileDescriptorSet, services: Iterable[Service]) -> None:
        self.files = files
        self.services: Mapping[str, Service] = MappingProxyType({service.name: service for service in services})
        methods = [method for service in self.services.values() for method in service.methods]
        self.methods: Mapping[str, Method] = MappingProxyType({method.path: method for method in methods})
        self.tasks = tuple(dict.fromkeys(method.task for method in methods if method.task))
        self.capabilities = frozenset(word for method in methods for word in method.capabilities)
        self.units = frozenset(unit.name for method in methods for unit in method.units)

    def exposed(self, exposure: Exposure) -> tuple[str, ...]:
        """Return the names of the services with this exposure, in order."""
        return tuple(sorted(service.name for service in self.services.values() if service.exposure is exposure))

    def request_class(self, method: Method) -> type[Message]:
        """Return the class of a method's request message, of this object's own descriptor pool."""
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(method.request_type))

    def load_types(self) -> None:
        """Build the types of all messages, which else happens when the first is asked for. Raise TypeError."""
        _ = self._pool

    @functools.cached_property
    def _pool(self) -> descriptor_pool.DescriptorPool:
        return _pool_of(self.files)


def load_contracts() -> Contracts:
    """Return the contracts that are installed: ours, and those that other distributions add by entry points.

    Raises:
        ConfigError: a contract cannot be read, contradicts itself or another one; the message names it.
    """
    # Ours needs no entry point: it is there wherever this module is.
    sets = [(_OURS, _read_descriptors(_OURS, _OURS))]
    entries = sorted(importlib.metadata.entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name)
    sets += [(entry.name, _read_descriptors(entry.name, entry.module)) for entry in entries]
    return read_contracts(sets)


def read_contracts(sets: Iterable[tuple[str, bytes]]) -> Contracts:
    """Return the contracts of descriptor sets, each with the name that errors give it; ours first.

    A file that several sets hold counts once, as the first one has it: imports of ours may be of another version.

    Raises:
        ConfigError: a set cannot be read, contradicts itself or another one; the message names it.
    """
    merged = descriptor_pb2.FileDescriptorSet()
    origins: dict[str, str] = {}
    services: dict[str, Service] = {}
    paths: dict[tuple[str, str], str] = {}
    for origin, raw in sets:
        try:
            files = descriptor_pb2.FileDescriptorSet.FromString(raw).file
        except DecodeError:
            raise ConfigError(f"contract {origin}: {DESCRIPTORS} is not a FileDescriptorSet") from None
        for file in files:
            first = origins.setdefault(file.name, origin)
            if first != origin:
                if file.service and first != _OURS:
                    raise ConfigError(f"contract {origin}: {file.name} is also in the contract {first}; rename one")
                continue
            merged.file.add().CopyFrom(file)
            for service in _services(origin, file):
                if service.name in services:
                    raise ConfigError(f"contract {origin}: the service {service.name} is defined twice")
                services[service.name] = service
                for method in service.methods:
                    _claim_paths(origin, method, paths)
    contracts = Contracts(merged, services.values())
    if any(origin != _OURS for origin in origins.values()):
        _check_fields(contracts, {service: origins[file.name] for file in merged.file for service in _names(file)})
    return contracts


def _read_descriptors(origin: str, package: str) -> bytes:
    try:
        return (importlib.resources.files(package) / DESCRIPTORS).read_bytes()
    except (ImportError, OSError) as error:
        raise ConfigError(
            f"contract {origin}: {DESCRIPTORS} of the package {package!r} cannot be read: {error}; reinstall the "
            "distribution"
        ) from None


def _names(file: descriptor_pb2.FileDescriptorProto) -> Iterator[str]:
    for service in file.service:
        yield f"{file.package}.{service.name}"


def _services(origin: str, file: descriptor_pb2.FileDescriptorProto) -> Iterator[Service]:
    for name, service in zip(_names(file), file.service, strict=True):
        if origin != _OURS and f"{file.package}.".startswith(f"{_OURS}."):
            raise ConfigError(f"contract {origin}: the service {name} is in our package; choose one of your own")
        options = service.options.Extensions[options_pb2.service]
        exposure = _option(Exposure, options.exposure, f"contract {origin}: {name}: exposure")
        if origin != _OURS and exposure is Exposure.ROUTER:
            raise ConfigError(f"contract {origin}: {name}: exposure: only our own services are served by routers")
        yield Service(
            name=name,
            exposure=exposure,
            openai_errors=options.error_format == options_pb2.ERROR_FORMAT_OPENAI,
            methods=tuple(
                _method(f"contract {origin}: {name}/{method.name}", name, method) for method in service.method
            ),
        )


def _method(where: str, service: str, method: descriptor_pb2.MethodDescriptorProto) -> Method:
    options = method.options.Extensions[options_pb2.method]
    task = options.task
    if task and not _TASK(task):
        raise ConfigError(f"{where}: task: {task!r} must be 1-64 of [a-z0-9-]")
    units = tuple(CountedUnit(unit.name, unit.max_field, unit.default_max) for unit in options.units)
    if not task and (units or options.free or options.replayable or options.capabilities):
        raise ConfigError(f"{where}: task: is missing; without one, no other option but body has a meaning")
    names = [unit.name for unit in units]
    for unit in units:
        if not UNIT_NAME(unit.name):
            raise ConfigError(f"{where}: units: {unit.name!r} must be 1-63 of [a-z0-9_] and begin with a letter")
        if names.count(unit.name) > 1:
            raise ConfigError(f"{where}: units: {unit.name!r} is given twice")
        if unit.default_max < 0:
            raise ConfigError(f"{where}: units: default_max of {unit.name!r} is negative")
    if sum(name not in UNITS for name in names) > MAX_NAMED_UNITS:
        raise ConfigError(f"{where}: units: at most {MAX_NAMED_UNITS} may have names of their own")
    body = _option(Body, options.body, f"{where}: body")
    # A model that does the task; what is free asks nothing of the model by itself.
    capabilities = frozenset(options.capabilities) or frozenset({task} if task and not options.free else ())
    return Method(
        path=f"/{service}/{method.name}",
        service=service,
        request_type=method.input_type.lstrip("."),
        client_streaming=method.client_streaming,
        http=tuple(_http(method)),
        task=task,
        body=Body.HEADERS if method.client_streaming else body,
        model_field=options.model_field or "model",
        capabilities=capabilities,
        free=options.free,
        replayable=options.replayable,
        units=units,
    )


def _option(kind: type[_Option], value: int, where: str) -> _Option:
    try:
        return kind(value)
    except ValueError:
        raise ConfigError(f"{where}: {value} is of a newer version of the options than this process knows") from None


def _http(method: descriptor_pb2.MethodDescriptorProto) -> Iterator[tuple[str, str]]:
    if not method.options.HasExtension(annotations_pb2.http):
        return
    rule = method.options.Extensions[annotations_pb2.http]
    for binding in (rule, *rule.additional_bindings):
        for verb in _VERBS:
            if getattr(binding, verb):
                yield verb, getattr(binding, verb)
        if binding.HasField("custom"):
            yield binding.custom.kind.lower(), binding.custom.path


def _claim_paths(origin: str, method: Method, paths: dict[tuple[str, str], str]) -> None:
    """Refuse two methods with one HTTP form: Envoy would refuse the whole configuration."""
    for verb, template in method.http:
        shape = (verb, re.sub(r"\{[^}]*\}", "{}", template))
        other = paths.setdefault(shape, method.path)
        if other != method.path:
            raise ConfigError(f"contract {origin}: {method.path}: {verb.upper()} {template} is already that of {other}")


def _pool_of(files: descriptor_pb2.FileDescriptorSet) -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return pool


def _check_fields(contracts: Contracts, origins: Mapping[str, str]) -> None:
    """Refuse contracts without their imports, and options that name fields which their requests do not have."""
    try:
        contracts.load_types()
    except TypeError as error:
        raise ConfigError(f"a contract is incomplete: {error}; make {DESCRIPTORS} with --include_imports") from None
    for method in contracts.methods.values():
        origin = origins[method.service]
        if origin == _OURS or not method.task or method.raw or method.body is Body.HEADERS:
            continue
        where = f"contract {origin}: {method.path}"
        request = contracts.request_class(method)
        field = field_at(request, method.model_field)
        if method.model_field != "model" and (field is None or field.type != descriptor.FieldDescriptor.TYPE_STRING):
            raise ConfigError(f"{where}: model_field: {method.model_field!r} is no string of {method.request_type}")
        for unit in method.units:
            field = field_at(request, unit.max_field)
            if unit.max_field and (field is None or field.cpp_type not in _INTEGERS or field.is_repeated):
                raise ConfigError(f"{where}: max_field: {unit.max_field!r} is no whole number of {method.request_type}")


def field_at(message: type[Message], path: str) -> descriptor.FieldDescriptor | None:
    """Return the field of a message at a path with dots between nested fields, or None."""
    field: Any = None
    inside: Any = message.DESCRIPTOR
    for name in path.split("."):
        field = None if inside is None else inside.fields_by_name.get(name)
        inside = None if field is None else field.message_type
    return cast("descriptor.FieldDescriptor | None", field)
