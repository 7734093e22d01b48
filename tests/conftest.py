# SPDX-License-Identifier: Apache-2.0
"""A catalogue of two trackers that no build has to write first."""

import pytest

from eunomia_api.tracker import Catalogue, CatalogueColumn, CatalogueTracker, Param


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    args = Param(type="bool", default=False, help="Keep the arguments.")
    most = Param(type="int", default=256, min=0, max=4096, help="Most bytes of them.")
    prefix = Param(type="string", default="", max_length=63, help="Only such paths.")
    return Catalogue(
        hash="0" * 64,
        trackers=[
            CatalogueTracker(
                name="process",
                help="Processes.",
                params={"args": args, "maxArgs": most},
                sources={"events": []},
            ),
            CatalogueTracker(
                name="opensnoop",
                help="Opens.",
                params={"prefix": prefix},
                sources={"events": ["pid", "error", "path"]},
                rows=[
                    CatalogueColumn(name="pid", type="tgid_t", json_type="integer"),
                    CatalogueColumn(name="error", type="errno_t", json_type="string"),
                    CatalogueColumn(name="path", type="path_t", json_type="string"),
                ],
            ),
        ],
    )
