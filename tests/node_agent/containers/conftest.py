# SPDX-License-Identifier: Apache-2.0
"""The tree of cgroups, and container runtimes: in memory, fake, and real."""

import asyncio
import hashlib
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message

from eunomia_agent.containers import cri_pb2
from eunomia_agent.containers.confinement import Confinement
from eunomia_agent.containers.runtime import Container, Sandbox
from eunomia_agent.errors import RuntimeUnavailable

HERE = Path(__file__).parent
IMAGE = "localhost/eunomia-test:1"
CGROUPS = f"eunomia-test-{os.getpid()}"
PROGRAM = """
#include <unistd.h>
int main(int count, char **words) { while (count < 2) pause(); return 0; }
"""
CONTAINERD = """
version = 2
root = "{folder}/root"
state = "{folder}/state"
[grpc]
  address = "{folder}/s"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  Root = "{folder}/runc"
"""


@dataclass
class RuntimeInMemory:
    """A `Runtime` whose pods and containers the test puts there.

    down: it does not answer. broken: ids for which its client breaks.
    """

    held: dict[str, Container | Sandbox] = field(default_factory=dict)
    down: RuntimeUnavailable | None = None
    asked: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    closed: bool = False

    def add(self, *identities: Container | Sandbox) -> None:
        self.held.update({identity.id: identity for identity in identities})

    async def identity(self, identity: str) -> Container | Sandbox | None:
        self._answers()
        if identity in self.broken:
            raise AttributeError(identity)
        self.asked.append(identity)
        return self.held.get(identity)

    async def identities(self) -> list[Container | Sandbox]:
        self._answers()
        return [*self.held.values()]

    async def confinement(self, container_id: str) -> Confinement | None:
        self._answers()
        return None

    async def containers(self) -> list[Container]:
        return [each for each in await self.identities() if isinstance(each, Container)]

    async def close(self) -> None:
        self.closed = True

    def _answers(self) -> None:
        if self.down:
            raise self.down


@pytest.fixture
def runtime() -> RuntimeInMemory:
    return RuntimeInMemory()


class FakeCri:
    """A CRI server in this process. delay: seconds before each answer."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.sandboxes: dict[str, cri_pb2.PodSandbox] = {}
        self.containers: dict[str, cri_pb2.Container] = {}
        self.delay = 0.0
        self.spoilt = (b"spoil", b"\xff\xff\xff\xff\xff")
        """Bytes in an answer, and what is sent in their stead: not UTF-8."""
        self._server: grpc.aio.Server | None = None
        self._ids = itertools.count(1)

    async def start(self) -> None:
        self._server = grpc.aio.server()
        requests = {
            "ListContainers": cri_pb2.ListContainersRequest,
            "ListPodSandbox": cri_pb2.ListPodSandboxRequest,
        }
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                self._handler(name),
                request_deserializer=request.FromString,
                response_serializer=self._serialized,
            )
            for name, request in requests.items()
        }
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("runtime.v1.RuntimeService", handlers)]
        )
        self._server.add_insecure_port(f"unix:{self.socket}")
        await self._server.start()

    async def stop(self) -> None:
        if self._server:
            await self._server.stop(None)
        self.socket.unlink(missing_ok=True)

    async def run_pod(self, namespace: str, name: str, uid: str, labels: dict[str, str]) -> str:
        sandbox_id = f"{next(self._ids):064x}"
        told = {"io.kubernetes.pod.name": name, "io.kubernetes.pod.namespace": namespace}
        self.sandboxes[sandbox_id] = cri_pb2.PodSandbox(
            id=sandbox_id,
            metadata=cri_pb2.PodSandboxMetadata(name=name, uid=uid, namespace=namespace),
            labels={**labels, **told, "io.kubernetes.pod.uid": uid},
        )
        return sandbox_id

    async def run_container(self, sandbox_id: str, name: str, *words: str) -> str:
        container_id = f"{next(self._ids):064x}"
        self.containers[container_id] = cri_pb2.Container(
            id=container_id,
            pod_sandbox_id=sandbox_id,
            metadata=cri_pb2.ContainerMetadata(name=name),
        )
        return container_id

    def _handler(self, name: str) -> Callable[..., object]:
        async def answer(request: Message, _context: object) -> Message:
            await asyncio.sleep(self.delay)
            return getattr(self, f"_{name}")(request)

        return answer

    def _serialized(self, message: Message) -> bytes:
        return message.SerializeToString().replace(*self.spoilt)

    def _ListContainers(self, request: cri_pb2.ListContainersRequest) -> Message:  # noqa: N802
        wanted = request.filter.id
        chosen = [each for each in self.containers.values() if not wanted or each.id == wanted]
        return cri_pb2.ListContainersResponse(containers=chosen)

    def _ListPodSandbox(self, request: cri_pb2.ListPodSandboxRequest) -> Message:  # noqa: N802
        wanted = request.filter.id
        chosen = [each for each in self.sandboxes.values() if not wanted or each.id == wanted]
        return cri_pb2.ListPodSandboxResponse(items=chosen)


@pytest.fixture
async def fake_cri(short_folder: Path) -> AsyncIterator[FakeCri]:
    server = FakeCri(short_folder / "s")
    await server.start()
    yield server
    await server.stop()


class Containerd:
    """A real containerd with root, state and socket of its own, and CRI to run pods by."""

    def __init__(self, folder: Path, messages: ModuleType) -> None:
        self.folder = folder
        self.socket = folder / "s"
        self._messages = messages
        self._process: subprocess.Popen[bytes] | None = None
        self._pods: dict[str, Message] = {}
        self._channel = grpc.aio.insecure_channel(
            f"unix:{self.socket}", options=[("grpc.default_authority", "localhost")]
        )

    async def start(self) -> None:
        self._process = self._launch()
        await self._call("Version", SimpleNamespace(SerializeToString=bytes), wait=True)

    async def stop(self) -> None:
        assert self._process
        self._process.terminate()
        await asyncio.to_thread(self._process.wait, 20)

    async def import_image(self, archive: Path) -> None:
        command = ["ctr", "--address", str(self.socket), "-n", "k8s.io", "images", "import"]
        importing = await asyncio.create_subprocess_exec(
            *command, str(archive), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        told, _ = await importing.communicate()
        assert importing.returncode == 0, told.decode()

    async def run_pod(self, namespace: str, name: str, uid: str, labels: dict[str, str]) -> str:
        config = self._messages.SandboxConfig(
            metadata=self._messages.Metadata(name=name, uid=uid, namespace=namespace),
            labels={**labels, "io.kubernetes.pod.name": name, "io.kubernetes.pod.uid": uid},
            linux=self._messages.Linux(
                cgroup_parent=f"/{CGROUPS}/kubepods/pod{uid}",
                security_context=self._messages.Security(
                    namespace_options=self._messages.Namespaces(network=2),  # the node's own
                    privileged=True,  # lets containers be so
                ),
            ),
        )
        request = self._messages.RunPodSandbox(config=config)
        sandbox_id = await self._id_from("RunPodSandbox", request)
        self._pods[sandbox_id] = config
        return sandbox_id

    async def run_container(
        self,
        sandbox_id: str,
        name: str,
        *words: str,
        profile: str | None = None,
        privileged: bool = False,
        add: tuple[str, ...] = (),
        drop: tuple[str, ...] = (),
    ) -> str:
        """profile: path of its seccomp profile, "" for the runtime's own; None: unconfined.

        add, drop: capabilities without CAP_, or ALL.
        """
        kind = 1 if profile is None else 2 if profile else 0
        request = self._messages.CreateContainer(
            pod_sandbox_id=sandbox_id,
            config=self._messages.ContainerConfig(
                metadata=self._messages.ContainerMetadata(name=name),
                image=self._messages.Image(image=await self._image_id()),
                command=["/program", *words],
                linux=self._messages.ContainerLinux(
                    security_context=self._messages.ContainerSecurity(
                        capabilities=self._messages.Capability(add=add, drop=drop),
                        privileged=privileged,
                        seccomp=self._messages.SecurityProfile(
                            profile_type=kind, localhost_ref=profile or ""
                        ),
                    )
                ),
            ),
            sandbox_config=self._pods[sandbox_id],
        )
        container_id = await self._id_from("CreateContainer", request)
        await self._call("StartContainer", self._messages.Id(id=container_id))
        return container_id

    async def remove_pods(self) -> None:
        for sandbox_id in list(self._pods):
            await self._call("StopPodSandbox", self._messages.Id(id=sandbox_id))
            await self._call("RemovePodSandbox", self._messages.Id(id=sandbox_id))
            del self._pods[sandbox_id]

    async def close(self) -> None:
        await self.remove_pods()
        await self._channel.close()
        await self.stop()
        self._remove_cgroups()

    def _launch(self) -> subprocess.Popen[bytes]:
        command = ["containerd", "--config", str(self.folder / "config.toml")]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)

    def _remove_cgroups(self) -> None:
        for hierarchy in Path("/sys/fs/cgroup").glob(f"**/{CGROUPS}"):
            for folder, _, _ in os.walk(hierarchy, topdown=False):
                os.rmdir(folder)

    async def _image_id(self) -> str:
        """Return the digest by which the kubelet, too, names the image of a container."""
        request = self._messages.ImageStatus(image=self._messages.Image(image=IMAGE))
        answer = await self._call("ImageStatus", request, service="ImageService")
        return self._messages.ImageStatusAnswer.FromString(answer).image.id

    async def _id_from(self, method: str, request: Message) -> str:
        return self._messages.Id.FromString(await self._call(method, request)).id

    async def _call(
        self, method: str, request: object, *, service: str = "RuntimeService", wait: bool = False
    ) -> bytes:
        call = self._channel.unary_unary(f"/runtime.v1.{service}/{method}")
        return await call(request.SerializeToString(), timeout=30, wait_for_ready=wait)


@pytest.fixture(scope="session")
def running_messages(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The messages of running.proto."""
    out = tmp_path_factory.mktemp("proto")
    protoc = [sys.executable, "-m", "grpc_tools.protoc"]
    subprocess.run([*protoc, f"-I{HERE}", f"--python_out={out}", "running.proto"], check=True)
    module = ModuleType("running_pb2")
    exec(compile((out / "running_pb2.py").read_text(), "running_pb2.py", "exec"), module.__dict__)
    return module


@pytest.fixture(scope="session")
def image_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image whose one program waits for ever, or ends at once when it is given a word."""
    folder = tmp_path_factory.mktemp("image")
    (folder / "program.c").write_text(PROGRAM)
    subprocess.run(
        ["cc", "-static", "-Os", "-o", folder / "program", folder / "program.c"], check=True
    )
    layer = _tar({"program": (folder / "program").read_bytes()})
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/program"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    archive = folder / "image.tar"
    archive.write_bytes(
        _tar(
            {
                "manifest.json": json.dumps(manifest).encode(),
                "config.json": json.dumps(config).encode(),
                "layer.tar": layer,
            }
        )
    )
    return archive


@pytest.fixture
async def containerd(
    short_folder: Path, running_messages: ModuleType, image_archive: Path
) -> AsyncIterator[Containerd]:
    if os.geteuid():
        pytest.skip("needs root: it runs containers")
    missing = [name for name in ("containerd", "ctr", "runc", "cc") if not shutil.which(name)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: install containerd, runc and gcc")
    config = CONTAINERD.format(folder=short_folder, image=IMAGE)
    (short_folder / "config.toml").write_text(config)
    containerd = Containerd(short_folder, running_messages)
    await containerd.start()
    try:
        await containerd.import_image(image_archive)
        yield containerd
    finally:
        await containerd.close()


def _tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()
