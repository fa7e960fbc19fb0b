"""README says what is so: its tables are the code's, and what it names exists."""

import importlib.util
import re
from importlib.machinery import SourceFileLoader
from pathlib import Path

from click.testing import CliRunner

from voicetap_bundle.cli import COMMANDS, voicetap

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_tables_are_up_to_date():
    loader = SourceFileLoader("readme", str(ROOT / "tools/readme"))
    tool = importlib.util.module_from_spec(importlib.util.spec_from_loader("readme", loader))
    loader.exec_module(tool)
    assert tool.with_tables(README) == README, "run tools/readme"


def test_its_links_lead_somewhere():
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_its_commands_exist():
    commands = re.findall(r"^    voicetap ([a-z]+) ", README, re.M)
    assert set(commands) == set(COMMANDS)
    for command in commands:
        assert CliRunner().invoke(voicetap, [command, "--help"]).exit_code == 0, command
