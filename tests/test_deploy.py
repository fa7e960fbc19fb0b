"""What deploy/ and docker-compose.yml name must exist: modules, programs, variables, paths, profiles, anchors."""

import configparser
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from voicetap import config
from voicetap.service import shutdown
from voicetap_watchdog import supervise
from voicetap_watchdog.layout import PROGRAMS, BundleLayout

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
COMPOSE = ROOT / "docker-compose.yml"
FILES = [*DEPLOY.rglob("*.conf"), DEPLOY / "Dockerfile", DEPLOY / "voicetap.service", COMPOSE]
TEXTS = {path: path.read_text() for path in FILES}
SERVICES = sorted(path.name for path in (ROOT / "services").iterdir() if (path / "pyproject.toml").exists())


def program(name: str) -> configparser.SectionProxy:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";",))
    parser.read(DEPLOY / "programs" / f"{name}.conf")
    (section,) = parser.sections()
    return parser[section]


def compose() -> dict:
    return yaml.safe_load(COMPOSE.read_text())


def test_every_service_has_its_program_and_no_program_is_without_one():
    assert sorted(path.stem for path in (DEPLOY / "programs").glob("*.conf")) == SERVICES
    assert sorted((*PROGRAMS, "watchdog")) == SERVICES


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_every_variable_is_a_setting_or_internal(path):
    settings = {config.variable(section, name) for section, name, _, _ in config.describe()}
    assert (
        set(re.findall(r"VOICETAP_[A-Z_]*[A-Z]", TEXTS[path]))
        - settings
        - set(config.former_variables())
        - config.INTERNAL
        == set()
    )


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_every_module_can_be_run(path):
    found = re.findall(r"\bvoicetap(?:_[a-z]+)+(?:\.[a-z]+)?|\bvoicetap\.launch", TEXTS[path])
    for module in found:
        spec = importlib.util.find_spec(module)
        assert spec, module
        if spec.submodule_search_locations:
            assert importlib.util.find_spec(f"{module}.__main__"), module


def test_the_environment_contains_every_variable_of_supervisords_files(settings):
    environment = BundleLayout(settings).environment({}, "python")
    for path in DEPLOY.rglob("*.conf"):
        assert set(re.findall(r"%\(ENV_(\w+)\)s", path.read_text())) <= set(environment), path.name


def test_programs_start_in_one_order_and_stop_in_reverse():
    order = ("watchdog", "journal", "transcribe", "vad", "capture")
    assert sorted(order, key=lambda name: int(program(name)["priority"])) == list(order)


@pytest.mark.parametrize("name", SERVICES)
def test_a_program_is_always_restarted_unless_it_is_misconfigured(name):
    section = program(name)
    assert (section["autorestart"], section["exitcodes"], section["startsecs"]) == ("unexpected", "78", "0")
    assert section["stopasgroup"] == section["killasgroup"] == "true"
    assert int(section["stopwaitsecs"]) == shutdown.STOPWAITSECS[name]


def test_no_file_of_supervisord_is_a_device():
    """It removes its pidfile when it exits, and a log on request; as root, /dev/null too."""
    for path in DEPLOY.rglob("*.conf"):
        assert not re.search(r"^(pidfile|\w*logfile)\s*=\s*/dev/", path.read_text(), re.MULTILINE), path.name


def test_supervisord_listens_on_no_network():
    assert "inet_http_server" not in TEXTS[DEPLOY / "supervisord.conf"]


def test_supervise_finds_the_files():
    assert supervise.deploy_dir() == DEPLOY


def test_the_wheel_contains_the_files():
    text = (ROOT / "services/watchdog/pyproject.toml").read_text()
    for source, target in re.findall(r'^"(\.\./\S+)" = "(\S+)"', text, re.MULTILINE):
        assert (ROOT / "services/watchdog" / source).exists()
        assert target.startswith("voicetap_watchdog/deploy/")


def test_the_image_copies_files_that_exist():
    for source in re.findall(r"^COPY (?!--)(\S+) ", TEXTS[DEPLOY / "Dockerfile"], re.MULTILINE):
        for service in SERVICES if "$SERVICE" in source else [""]:
            assert (ROOT / source.replace("$SERVICE", service)).exists(), source
        sent = re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
        assert source.partition("/")[0] in sent, f".dockerignore hides {source}"


def test_every_container_runs_a_service_and_checks_its_health():
    for name, service in compose()["services"].items():
        program_name = service["build"]["args"]["SERVICE"]
        assert program_name in PROGRAMS and program_name == name.partition("-")[0]
        assert service["healthcheck"]["test"] == ["CMD", "python", "-m", "voicetap_watchdog.health", program_name]


def test_every_container_is_confined_and_restarted():
    for name, service in compose()["services"].items():
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] and service["init"] and service["restart"] == "unless-stopped", name
        assert "runtime:/run/voicetap" in service["volumes"], name
        assert not {"ports", "privileged", "cap_add", "devices"} & set(service), name
        assert service["network_mode"] == ("bridge" if name.startswith("transcribe") else "none"), name
        assert int(service["stop_grace_period"].rstrip("s")) > shutdown.BUNDLE_STOP_S, name


def test_every_volume_is_declared():
    named = {volume.partition(":")[0] for each in compose()["services"].values() for volume in each["volumes"]}
    assert {name for name in named if re.fullmatch(r"\w+", name)} == set(compose()["volumes"])


def test_the_profiles_named_in_the_comments_exist():
    existing = {profile for service in compose()["services"].values() for profile in service.get("profiles", [])}
    assert set(re.findall(r"--profile (\w+)", TEXTS[COMPOSE])) <= existing


def test_the_unit_runs_supervise_and_expects_a_watchdog():
    unit = TEXTS[DEPLOY / "voicetap.service"]
    for line in ("Type=notify", "Restart=always", "KillMode=mixed", "RestartPreventExitStatus=78"):
        assert re.search(rf"^{line}$", unit, re.MULTILINE)
    assert re.search(r"^ExecStart=\S+/python -m voicetap_watchdog.supervise$", unit, re.MULTILINE)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_accepts_the_unit(tmp_path):
    unit = tmp_path / "voicetap.service"
    unit.write_text(
        (DEPLOY / "voicetap.service").read_text().replace("/opt/voicetap/.venv/bin/python", "/usr/bin/true")
    )
    checked = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")
