# SPDX-License-Identifier: Apache-2.0
"""A YAML file that a command was given."""

from pathlib import Path

from eunomia_agent.cli.errors import CommandError
from eunomia_api import document
from eunomia_api.document import MAX_BYTES, Document, DocumentInvalid


def read(path: Path) -> Document:
    """Read a file that holds one document. Raises CommandError with FILE:LINE."""
    try:
        with path.open("rb") as file:
            return document.read(str(path), file.read(MAX_BYTES + 1))
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None
    except DocumentInvalid as error:
        raise CommandError(str(error)) from None
