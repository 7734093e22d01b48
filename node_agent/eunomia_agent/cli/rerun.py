# SPDX-License-Identifier: Apache-2.0
"""Makes a container of Docker's anew as it was, but for its seccomp profile.

The one before stays, stopped and under another name, and comes back where the new one does not run.
"""

import posixpath
import signal
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from eunomia_agent.cli.engine import TIMEOUT_SECONDS, Engine, EngineError
from eunomia_agent.cli.errors import CommandError

RUNS_SECONDS = 2.0
"""A container that runs for so long has begun under its profile."""
MOST_BEFORE = 99
_CONFLICT = 409
_DEFAULT_NETWORKS = ("default", "bridge", "host", "none")


class CannotRerun(CommandError):
    """A container is not made anew; the message says why, and what is not as it was."""


def rerun(engine: Engine, found: Mapping[str, Any], profile: str) -> Iterator[str]:
    """Make a container anew under a profile; give lines about it. Raises CommandError.

    found: what the engine tells of it. profile: the content of its file.
    """
    name, old = str(found["Name"]).removeprefix("/"), str(found["Id"])
    _check(engine, name, found)
    image = _image(engine, found)
    new = engine.post("/containers/create", renewed(found, image, profile), name=f"{name}-new")[
        "Id"
    ]
    try:
        for network, endpoint in _further(found):
            body = {"Container": new, "EndpointConfig": endpoint}
            engine.post(f"/networks/{network}/connect", body)
    except BaseException as error:
        raise _refused(name, error, _remove(engine, new, name)) from None
    try:
        before = _exchange(engine, found, name, new)
    except BaseException as error:
        raise _refused(name, error, _back(engine, found, name, new)) from None
    _rest(engine, old)
    yield f"{name}: made anew under the profile; the one before is {before}, stopped"
    yield "  what it had written beside its volumes is there alone. To go back:"
    policy = (found["HostConfig"].get("RestartPolicy") or {}).get("Name") or "no"
    restart = "" if policy == "no" else f" && docker update --restart {policy} {name}"
    yield f"  docker rm -f {name} && docker rename {before} {name} && docker start {name}{restart}"


def _check(engine: Engine, name: str, found: Mapping[str, Any]) -> None:
    host, labels = found["HostConfig"], found["Config"].get("Labels") or {}
    parts = engine.get("/version").get("Components") or ()
    if any(str(each.get("Name")).startswith("Podman") for each in parts):
        raise CannotRerun(f"{name} is Podman's, which this does not make anew")
    if host.get("Privileged"):
        raise CannotRerun(f"{name} is privileged: Docker puts no profile on such a container")
    if host.get("AutoRemove"):
        raise CannotRerun(f"{name} was run with --rm: it would be gone once it is stopped")
    if any(each.startswith("com.docker.swarm.") for each in labels):
        raise CannotRerun(f"{name} is a swarm's, which makes its containers itself")


def _image(engine: Engine, found: Mapping[str, Any]) -> str:
    """Return the image by its name, or by its id where the name stands for another one by now."""
    name, id_ = str(found["Config"]["Image"]), str(found["Image"])
    with suppress(EngineError):
        if engine.get(f"/images/{name}/json")["Id"] == id_:
            return name
    return id_


def renewed(found: Mapping[str, Any], image: str, profile: str) -> dict[str, Any]:
    """Return how a container like one that there is would be made, under a profile. Pure."""
    config = {**found["Config"], "Image": image}
    host = dict(found["HostConfig"])
    shared = str(host.get("NetworkMode")).startswith("container:")
    if shared or config.get("Hostname") == str(found["Id"])[:12]:
        config["Hostname"] = ""
    if shared:
        config["ExposedPorts"] = None
    others = [each for each in host.get("SecurityOpt") or () if not _is_seccomp(each)]
    host["SecurityOpt"] = [*others, f"seccomp={profile}"]
    host["Links"] = [_link(each) for each in host.get("Links") or ()]
    host["Binds"] = [*_binds(found), *_volumes(found)]
    host["Mounts"] = [_mount(each, found) for each in host.get("Mounts") or ()]
    first = host.get("NetworkMode") or "default"
    networks = found["NetworkSettings"].get("Networks") or {}
    endpoints = {first: _endpoint(found, networks[first])} if _is_named(first, networks) else {}
    return {**config, "HostConfig": host, "NetworkingConfig": {"EndpointsConfig": endpoints}}


def _is_seccomp(option: str) -> bool:
    return option.startswith(("seccomp=", "seccomp:"))


def _is_named(network: str, networks: Mapping[str, Any]) -> bool:
    return network in networks and network not in _DEFAULT_NETWORKS


def _link(told: str) -> str:
    """Return a link as it is asked for: /db:/web/alias is told of db:alias."""
    source, _, alias = told.partition(":")
    return f"{source.removeprefix('/')}:{alias.rpartition('/')[2]}"


def _binds(found: Mapping[str, Any]) -> list[str]:
    """Return what was asked for with a source. Without one it is a volume that nobody named."""
    return [each for each in found["HostConfig"].get("Binds") or () if ":" in each]


def _volumes(found: Mapping[str, Any]) -> Iterator[str]:
    """Give the volumes that were made for the container, which nobody had named."""
    asked = [each.split(":")[1] for each in _binds(found)]
    asked += [str(each.get("Target")) for each in found["HostConfig"].get("Mounts") or ()]
    places = set(map(posixpath.normpath, asked))
    for mount in found.get("Mounts") or ():
        if mount.get("Type") == "volume" and mount["Destination"] not in places:
            mode = "rw" if mount.get("RW") else "ro"
            yield f"{mount['Name']}:{mount['Destination']}:{mode}"


def _mount(asked: Mapping[str, Any], found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a mount as it was asked for, with the volume that was made where none was named."""
    if asked.get("Type") != "volume" or asked.get("Source"):
        return asked
    place = posixpath.normpath(str(asked.get("Target")))
    there = [each for each in found.get("Mounts") or () if each["Destination"] == place]
    return {**asked, "Source": there[0]["Name"]} if there else asked


def _endpoint(found: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    own = str(found["Id"])[:12]
    aliases = [each for each in told.get("Aliases") or () if each != own]
    kept = {key: told.get(key) for key in ("IPAMConfig", "Links", "DriverOpts")}
    return {**kept, "Aliases": aliases}


def _further(found: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the networks that it is in beside its first."""
    first = found["HostConfig"].get("NetworkMode") or "default"
    networks = found["NetworkSettings"].get("Networks") or {}
    for name, told in networks.items():
        if _is_named(name, networks) and name != first:
            yield name, _endpoint(found, told)


def _exchange(engine: Engine, found: Mapping[str, Any], name: str, new: str) -> str:
    """Have the one run in the place of the other; return what the other is called now."""
    old, running = found["Id"], bool(found["State"]["Running"])
    if running:
        engine.post(f"/containers/{old}/stop", timeout=_stop_seconds(found))
    before = _set_aside(engine, old, name)
    engine.post(f"/containers/{new}/rename", name=name)
    if running:
        _start(engine, new)
    return before


def _stop_seconds(found: Mapping[str, Any]) -> float | None:
    """Return how long to wait for a stop. None: the container has all the time it wants."""
    own = found["Config"].get("StopTimeout") or 0
    return None if own < 0 else own + TIMEOUT_SECONDS


def _set_aside(engine: Engine, old: str, name: str) -> str:
    for number in range(1, MOST_BEFORE):
        before = f"{name}-before-{number}"
        try:
            engine.post(f"/containers/{old}/rename", name=before)
        except EngineError as error:
            if error.status != _CONFLICT:
                raise
        else:
            return before
    raise EngineError(f"there are {MOST_BEFORE} containers {name}-before-…: remove some")


def _start(engine: Engine, new: str) -> None:
    """Start it, and see that it runs. Raises EngineError."""
    until = time.monotonic() + RUNS_SECONDS
    engine.post(f"/containers/{new}/start")
    while time.monotonic() < until:
        state = engine.get(f"/containers/{new}/json")["State"]
        if state.get("Restarting") or (not state["Running"] and state["ExitCode"]):
            raise EngineError(f"under the profile it ended with exit code {state['ExitCode']}")
        time.sleep(0.1)


def _refused(name: str, error: BaseException, left: str) -> BaseException:
    """Return what to raise. left: what is not as it was."""
    if not isinstance(error, EngineError | KeyboardInterrupt):
        return error
    why = str(error) if isinstance(error, EngineError) else "it was interrupted"
    return CannotRerun(f"{name} {left or 'is back as it was'}: {why}")


def _back(engine: Engine, found: Mapping[str, Any], name: str, new: str) -> str:
    """Have all be as it was; return what is not.

    The one before may still be about to stop. To start it would do nothing then, so it is asked to
    start anew, which waits for that.
    """
    old = found["Id"]
    with _undisturbed():
        left = _remove(engine, new, name)
        with suppress(EngineError):  # it may still have its name
            engine.post(f"/containers/{old}/rename", name=name)
        if not found["State"]["Running"]:
            return left
        try:
            engine.post(f"/containers/{old}/restart", timeout=_stop_seconds(found))
        except EngineError as error:
            return f"does not run (docker start {old[:12]}; {error})"
    return left


def _remove(engine: Engine, new: str, name: str) -> str:
    """Remove the new one, or have it leave the name at least; return what is left of it."""
    try:
        engine.delete(f"/containers/{new}?force=true")
    except EngineError as error:
        with suppress(EngineError):  # it may have that name already
            engine.post(f"/containers/{new}/rename", name=f"{name}-new")
        return f"is back as it was, but {name}-new is left (docker rm -f {new[:12]}; {error})"
    return ""


@contextmanager
def _undisturbed() -> Generator[None]:
    """Take no interrupt meanwhile: half a way back is none."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _rest(engine: Engine, old: str) -> None:
    """Have the one before not come back when the engine starts anew."""
    with suppress(EngineError):
        engine.post(f"/containers/{old}/update", {"RestartPolicy": {"Name": "no"}})
