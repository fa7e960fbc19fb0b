"""README.md and docs/: generated tables are up to date, links resolve, and what is named exists."""

import importlib.util
import re
import tomllib
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

from rig.documents import DOCUMENTS, ROOT, anchors, blocks, prose, table
from voicetap import config
from voicetap.links import LINKS
from voicetap_bundle.cli import COMMANDS

DOCS = ROOT / "docs"
OTHERS = (ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "proto/README.md")
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)")
MAX_LINES, MAX_COLUMNS = 150, 110
FILES = {"journal.sqlite", "watchdog.pulse"}  # they look like settings


def test_the_table_of_settings_is_up_to_date():
    loader = SourceFileLoader("docs", str(ROOT / "tools/docs"))
    tool = importlib.util.module_from_spec(importlib.util.spec_from_loader("docs", loader))
    loader.exec_module(tool)
    text = tool.SETTINGS.read_text()
    assert tool.with_tables(text) == text, "run tools/docs"
    for section, name, _, _ in config.describe():
        assert f"| `{name}` |" in text and f"`{config.variable(section, name)}`" in text


@pytest.mark.parametrize("document", (*DOCUMENTS, *OTHERS), ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(document: Path):
    for path, anchor in LINK.findall(prose(document)):
        target = document.parent / path if path else document
        assert target.exists(), f"{path} is not there"
        assert not anchor or anchor in anchors(target), f"{path}#{anchor} is no heading"


def test_every_document_can_be_reached_from_the_readme():
    linked = {path for path, _ in LINK.findall(prose(ROOT / "README.md"))}
    assert {str(path.relative_to(ROOT)) for path in DOCS.glob("*.md")} <= linked


def test_the_readme_is_short():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= MAX_LINES
    assert [line for line in lines if len(line) > MAX_COLUMNS] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_code_is_hidden_from_the_tests(document: Path):
    """Code by indentation would escape them, as would a fence within a list, or one without a language."""
    assert not re.search(r"^\n {4,}\S", prose(document), re.MULTILINE)
    assert "```" not in prose(document)
    assert {block.language for block in blocks(document)} <= {"sh", "python", "toml", "mermaid", "text"}


def test_every_command_is_described():
    named = [row["command"].strip("`").removeprefix("voicetap ") for row in table(text_of("operations"), "Commands")]
    assert named == list(COMMANDS)


def test_every_package_has_its_line():
    named = {row["package"].strip("`") for row in table(text_of("architecture"), "Packages")}
    projects = [ROOT / "proto", ROOT / "bundle", *(path.parent for path in ROOT.glob("services/*/pyproject.toml"))]
    packages = {path.parent.name for project in projects for path in project.glob("voicetap*/__init__.py")}
    assert packages == {name for name in named if "." not in name}
    for name in named:
        assert importlib.util.find_spec(name), name


def test_the_glossary_is_sorted_and_defines_each_word_once():
    words = [row["word"] for row in table(text_of("architecture"), "Glossary")]
    assert words == sorted(set(words), key=str.lower)


@pytest.mark.parametrize("block", [block for path in DOCUMENTS for block in blocks(path)], ids=str)
def test_mermaid_is_of_a_form_that_is_known(block):
    """Not a parser: that is npm's mermaid, with which the diagrams were checked."""
    if block.language != "mermaid":
        return
    kind, *lines = (line.strip() for line in block.text.splitlines())
    people = re.findall(r"^ *participant (\w+) as ", block.text, re.MULTILINE)
    of = "|".join(people)
    known = rf"participant \w+ as .+|({of})->>({of}): [^;#]+|Note over ({of}): [^;#]+|loop .+|end"
    assert kind == "sequenceDiagram"
    assert [line for line in lines if not re.fullmatch(known, line)] == []
    assert lines.count("end") == sum(line.startswith("loop ") for line in lines)


def test_every_setting_in_prose_exists():
    settings = {f"{section}.{name}" for section, name, _, _ in config.describe() if section}
    sections = "|".join(sorted({name.partition(".")[0] for name in settings}))
    for document in DOCUMENTS:
        named = set(re.findall(rf"`((?:{sections})\.[a-z_]+)", prose(document)))
        assert named - FILES <= settings, document.name


def test_every_former_name_is_in_the_changelog():
    text = (ROOT / "CHANGELOG.md").read_text()
    for old, (section, name) in config.former_variables().items():
        dotted = f"{section}.{name}" if section else name
        former = [row for row in re.findall(r"\| `([\w.]+)` \| `([\w.]+)` \|", text) if row[1] == dotted]
        assert [config.variable(*before.rpartition(".")[::2]) for before, _ in former] == [old]


def test_the_licence_is_the_one_in_the_metadata():
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
    for project in ROOT.glob("**/pyproject.toml"):
        if ".venv" not in project.parts and "project" in (data := tomllib.loads(project.read_text())):
            assert data["project"]["license"] == "MIT", project


def test_every_link_of_the_bundle_is_named():
    assert {row["link"].strip("`") for row in table(text_of("protocol"), "Sockets")} == set(LINKS)


def text_of(name: str) -> str:
    return (DOCS / f"{name}.md").read_text()
