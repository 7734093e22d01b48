# SPDX-License-Identifier: Apache-2.0
"""Image archives hold together: every digest is that of the bytes it names."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

from dev.image import archive


def test_the_archive_leads_from_its_index_to_the_program(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    archive.write(
        path,
        "localhost/tool:dev",
        files={"/bin/tool": b"\x7fELF"},
        links={"/bin/alias": "tool"},
        command=["/bin/tool", "run"],
    )
    blobs = _members(path.read_bytes())
    for name, content in blobs.items():
        if name.startswith("blobs/sha256/"):
            assert hashlib.sha256(content).hexdigest() == name.rpartition("/")[2]

    (entry,) = json.loads(blobs["index.json"])["manifests"]
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "localhost/tool:dev"
    manifest = json.loads(blobs[_blob(entry["digest"])])
    config = json.loads(blobs[_blob(manifest["config"]["digest"])])
    (layer,) = manifest["layers"]
    assert config["rootfs"]["diff_ids"] == [layer["digest"]]
    assert config["config"]["Cmd"] == ["/bin/tool", "run"]

    with tarfile.open(fileobj=io.BytesIO(blobs[_blob(layer["digest"])])) as inside:
        assert (inside.getmember("bin/tool").mode, inside.getmember("tmp").mode) == (0o755, 0o1777)
        assert inside.getmember("bin/alias").linkname == "tool"


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.tar", "two.tar"):
        archive.write(tmp_path / name, "localhost/tool:dev", files={"/tool": b"x"})
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def _members(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        files = [member for member in tar.getmembers() if member.isfile()]
        return {member.name: _content(tar, member) for member in files}


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(member)
    assert stream is not None
    return stream.read()


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
