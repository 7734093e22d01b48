# SPDX-License-Identifier: Apache-2.0
"""The files that the documentation shows are good ones."""

from pathlib import Path

from eunomia_agent.cli import commands, config, manifest
from eunomia_agent.cli.options import declared, spellings

DOCS = Path(__file__).parents[3] / "docs"


def test_the_config_is_understood() -> None:
    found = config.load(DOCS / "cli/eunomia.toml", commands.config_keys())
    assert [use.tracker for use in found.daemon] == ["process", "opensnoop", "syscall"]
    assert found.defaults["run"] == {"interval": 5, "opensnoop": {"failed_only": True}}
    assert found.defaults["daemon"]["metrics"] == 9464


def test_the_job_is_accepted() -> None:
    found = manifest.load(DOCS / "cli/job.yaml")
    assert (found.job.name, found.seconds) == ("failed-opens", 30)
    assert found.job.budget.events_per_second == 0
    assert found.job.target.host
    assert found.job.target.all_namespaces


def test_every_command_and_option_is_told_of() -> None:
    text = (DOCS / "cli.md").read_text()
    for option in spellings(declared):
        if option not in ("container", "pid", "uid", "duration", "interval", "output", "wide"):
            assert f"`--{option}" in text, option
    for name in ("run", "trackers", "daemon", "server", "rules", "doctor"):
        assert f"`eunomia {name}" in text
