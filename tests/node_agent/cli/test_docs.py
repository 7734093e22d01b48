# SPDX-License-Identifier: Apache-2.0
"""The files that the documentation shows are good ones."""

from pathlib import Path

from eunomia_agent.cli import commands, config, manifest, rulebook, rules
from eunomia_agent.cli.options import declared, spellings

DOCS = Path(__file__).parents[3] / "docs"


def test_the_config_is_understood() -> None:
    found = config.load(DOCS / "cli/eunomia.toml", commands.config_keys())
    assert [use.tracker for use in found.daemon] == ["process", "opensnoop", "syscall"]
    assert found.defaults["run"] == {"interval": 5, "opensnoop": {"failed_only": True}}
    assert found.defaults["daemon"]["metrics"] == 9464
    names = [rule.name for rule in rulebook.chosen(found.rules.builtin)]
    assert "container-escape/release-agent-written" in names
    assert names[-1] == "shells/reverse-shell"


def test_the_rule_that_is_shown_does_what_its_examples_say(tmp_path: Path) -> None:
    text = (DOCS / "rules.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    outcome = rules.test(path, None, "")
    assert (outcome.problems, outcome.summary) == ([], "1 rule, 2 examples")
    assert [alert.message for alert in outcome.alerts] == ["cat (0) opened /srv/keys/a.pem"]


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
