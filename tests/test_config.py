"""Settings: a file and variables over it, checked so that a slip is one line and not a silent default."""

import dataclasses
import os
import re
from pathlib import Path

import pytest

from voicetap import config, runtime_dir, source_spec
from voicetap.config import as_environment, describe, load, load_for_client
from voicetap.errors import SettingsError
from voicetap.settings import CaptureSettings, Settings, TranscribeSettings, VadSettings


@pytest.fixture
def toml(tmp_path):
    """`toml("[vad]\\nthreshold = 0.4")`: the environment in which that is the voicetap.toml."""

    def write(text: str, **variables: str) -> dict[str, str]:
        path = tmp_path / "voicetap.toml"
        path.write_text(text)
        return {"VOICETAP_CONFIG": str(path), "VOICETAP_RUNTIME_DIR": "/run/x"} | variables

    return write


def test_without_any_setting_the_defaults_hold(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = load({"XDG_RUNTIME_DIR": "/run/user/7", "HOME": str(tmp_path)})
    assert settings == dataclasses.replace(Settings(), runtime_dir="/run/user/7/voicetap")


def test_the_file_is_read_and_variables_go_over_it(toml):
    environ = toml(
        'sources = ["desk=mic:USB", "file:/a b.wav"]\nstall_s = 3\n[vad]\nthreshold = 0.4\nonset_ms = 64',
        VOICETAP_VAD_THRESHOLD="0.6",
        VOICETAP_LOG_LEVEL="DEBUG",
    )
    settings = load(environ)
    assert settings.sources == ("desk=mic:USB", "file:/a b.wav") and settings.loop_timeout_s == 3.0
    assert (settings.vad.threshold, settings.vad.onset_ms, settings.log_level) == (0.6, 64, "DEBUG")


def test_lists_and_switches_in_variables():
    settings = load({"VOICETAP_SOURCES": " desk=mic ; file:/a.wav;", "VOICETAP_TRANSCRIBE_OFFLINE": "Yes"})
    assert settings.sources == ("desk=mic", "file:/a.wav") and settings.transcribe.offline is True
    assert load({"VOICETAP_ADDRESSES": ""}).addresses == ()


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("[vad]\ntreshold = 0.4", "vad.treshold; did you mean threshold?"),
        ("[vda]\nthreshold = 0.4", "unknown setting vda; did you mean vad?"),
        ("source = []", "did you mean sources?"),
        ("vad = 3", "vad is a section"),
        ("[loop_timeout_s]\na = 1", "loop_timeout_s is"),
        ('[vad]\nthreshold = "loud"', "vad.threshold is 'loud', not a number"),
        ("[vad]\nthreshold = true", "not a number"),
        ("[vad]\nonset_ms = 64.5", "vad.onset_ms is 64.5, not a whole number"),
        ("[vad]\nthreshold = 1.5", "vad.threshold is 1.5, it must be at least 0.01 and at most 0.99"),
        ("[vad]\nthreshold = nan", "threshold"),
        ("[journal]\nmax_mb = inf", "max_mb is inf, not a number"),
        ("[journal]\nmax_mb = -1", "at least 0"),
        ('[capture]\npace = "fast"', "capture.pace is 'fast'.*it may be realtime, max"),
        ("[transcribe]\noffline = 1", "not true or false"),
        ("[transcribe]\nmodel = 3", "transcribe.model is 3, not text"),
        ('sources = "mic"\naddresses = [1]', "addresses is .*, not a list of texts"),
        ("sources = [", "voicetap.toml: "),
    ],
)
def test_a_slip_in_the_file_is_one_line(toml, text, complaint):
    with pytest.raises(SettingsError, match=complaint) as error:
        load(toml(text))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name, value, complaint",
    [
        ("VOICETAP_VAD_TRESHOLD", "0.5", "did you mean VOICETAP_VAD_THRESHOLD?"),
        ("VOICETAP_LANGUAGE", "en", "did you mean VOICETAP_TRANSCRIBE_LANGUAGE?"),
        ("VOICETAP_VAD_THRESHOLD", "much", "vad.threshold is 'much', not a number"),
        ("VOICETAP_VAD_ONSET_MS", "64.0", "not a whole number"),
        ("VOICETAP_TRANSCRIBE_OFFLINE", "maybe", "not true or false"),
        ("VOICETAP_LOG_LEVEL", "INF", "did you mean INFO?"),
        ("VOICETAP_LOOP_TIMEOUT_S", "nan", "loop_timeout_s is 'nan', not a number"),
    ],
)
def test_a_slip_in_a_variable_is_one_line(name, value, complaint):
    with pytest.raises(SettingsError, match=complaint):
        load({name: value})


def test_a_variable_over_a_section_that_is_none(toml):
    with pytest.raises(SettingsError, match="vad is a section"):
        load(toml("vad = 3", VOICETAP_VAD_THRESHOLD="0.5"))


def test_a_file_that_is_named_but_not_there_is_no_reason_for_defaults(tmp_path):
    with pytest.raises(SettingsError, match="gone.toml"):
        load({"VOICETAP_CONFIG": str(tmp_path / "gone.toml")})
    (tmp_path / "latin.toml").write_bytes(b"\xe9")
    with pytest.raises(SettingsError, match="latin.toml"):
        load({"VOICETAP_CONFIG": str(tmp_path / "latin.toml")})


def test_another_process_gets_exactly_these_settings_whatever_its_file_says(toml):
    settings = Settings(
        runtime_dir="/run/y",
        sources=("a=mic:X", "b=file:/b.wav"),
        capture=CaptureSettings(pace="max"),
        vad=VadSettings(threshold=2 / 3),
    )
    environ = toml('sources = ["raw:/c"]\n[vad]\nonset_ms = 320\n[journal]\ndata_dir = "/somewhere"')
    assert load(environ | as_environment(settings)) == settings


def test_every_setting_has_a_meaning_and_a_default_that_is_allowed():
    rows = list(describe())
    assert len(rows) > 40 and all(doc for *_, doc in rows)
    names = {config.variable(section, name) for section, name, *_ in rows}
    assert len(names) == len(rows) and not names & config.INTERNAL
    environ = {config.variable(section, name): default for section, name, default, _ in rows}
    assert load(environ | {"VOICETAP_RUNTIME_DIR": "/run/x"}) == dataclasses.replace(Settings(), runtime_dir="/run/x")


def test_the_file_is_looked_for_where_people_put_it(tmp_path, monkeypatch):
    home = tmp_path / "home"
    (home / ".config" / "voicetap").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    below_home = home / ".config" / "voicetap" / "voicetap.toml"
    below_home.write_text("loop_timeout_s = 7")
    assert load({"HOME": str(home)}).loop_timeout_s == 7
    (tmp_path / "voicetap.toml").write_text("loop_timeout_s = 8")
    assert load({"HOME": str(home)}).loop_timeout_s == 8


def test_the_runtime_directory_is_always_somewhere(monkeypatch):
    assert runtime_dir.default_path({"XDG_RUNTIME_DIR": "/run/user/1"}) == "/run/user/1/voicetap"
    monkeypatch.setattr("os.access", lambda path, mode: path == "/run")
    assert runtime_dir.default_path({}) == "/run/voicetap"
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert runtime_dir.default_path({}).endswith(f"/voicetap-{os.getuid()}")


def test_a_setting_without_effect_is_accepted_with_a_warning(toml, caplog):
    former = {"VOICETAP_TRANSCRIBE_PREVIOUS_TEXT_MAX_GAP_S": "nonsense"}
    assert load(toml("[transcribe]\ncarry_over_s = 1.5") | former).transcribe == TranscribeSettings()
    assert [record.message for record in caplog.records] == [
        "transcribe.carry_over_s has no effect any more: remove it",
        "VOICETAP_TRANSCRIBE_PREVIOUS_TEXT_MAX_GAP_S has no effect any more: remove it",
    ]


def test_a_former_name_is_accepted_with_one_warning_that_names_the_new_one(toml, caplog):
    settings = load(toml("stall_s = 3\n[journal]\npersist = '/kept'") | {"VOICETAP_WATCHDOG_SILENT_S": "2"})
    assert (settings.loop_timeout_s, settings.journal.data_dir, settings.watchdog.heartbeat_timeout_s) == (
        3,
        "/kept",
        2,
    )
    assert [record.message.partition(";")[0] for record in caplog.records] == [
        "stall_s is now called loop_timeout_s",
        "journal.persist is now called journal.data_dir",
        "VOICETAP_WATCHDOG_SILENT_S is now called VOICETAP_WATCHDOG_HEARTBEAT_TIMEOUT_S",
    ]


def test_of_both_names_in_the_file_only_the_new_one_may_be_set(toml):
    with pytest.raises(SettingsError, match="stall_s is the former name of loop_timeout_s: set only loop_timeout_s"):
        load(toml("stall_s = 3\nloop_timeout_s = 4"))


def test_of_both_variables_the_new_one_counts(toml):
    both = {"VOICETAP_LOOP_TIMEOUT_S": "4", "VOICETAP_STALL_S": "3"}
    assert load(toml("") | both).loop_timeout_s == 4


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ("[vad]\nthreshold = 0.3", "vad.release_threshold must not be above vad.threshold"),
        ("[vad]\nmax_utterance_s = 5", "vad.max_utterance_soft_s must not be above vad.max_utterance_s"),
        ("[vad]\nendpoint_min_ms = 2000", "vad.endpoint_min_ms must not be above vad.endpoint_max_ms"),
        ("[capture]\nring_s = 20", "capture.ring_s must be at least 32 for vad.max_utterance_s = 25"),
        ("[vad]\nlease_s = 0.2", "vad.lease_s is 0.2, it must be at least 0.75"),
        ("[watchdog]\nheartbeat_timeout_s = 0.5", "watchdog.heartbeat_timeout_s is 0.5, it must be at least 1"),
    ],
)
def test_settings_that_do_not_work_together_are_one_line(toml, wrong, complaint):
    with pytest.raises(SettingsError, match=re.escape(complaint)):
        load(toml(wrong))


@pytest.mark.parametrize("wrong", ["[vad]\nthresold = 1", "[vad]\nthreshold = 0.3", "stall_s = 1\nloop_timeout_s = 1"])
def test_a_client_finds_its_bundle_whatever_else_is_wrong_in_the_file(toml, caplog, wrong):
    settings = load_for_client(toml(f"runtime_dir = '/run/x'\naddresses = ['history=tcp://127.0.0.1:1']\n{wrong}"))
    assert (settings.runtime_dir, settings.addresses) == ("/run/x", ("history=tcp://127.0.0.1:1",))
    assert caplog.messages[-1].startswith("ignored: ")


def test_a_client_of_a_file_that_is_no_toml_uses_the_environment(toml, caplog):
    assert load_for_client(toml("]") | {"VOICETAP_RUNTIME_DIR": "/run/y"}).runtime_dir == "/run/y"
    assert len(caplog.messages) == 1


def test_a_client_does_not_pass_over_its_own_settings(toml):
    with pytest.raises(SettingsError, match="addresses is 3"):
        load_for_client(toml("addresses = 3"))


@pytest.mark.parametrize("place", [".", "voicetap.toml"])
def test_a_file_that_others_may_write_to_is_not_read(tmp_path, monkeypatch, caplog, place):
    (tmp_path / "voicetap.toml").write_text("loop_timeout_s = 8")
    monkeypatch.chdir(tmp_path)
    assert load({"HOME": "/nowhere"}).loop_timeout_s == 8
    (tmp_path / place).chmod(0o777)
    assert load({"HOME": "/nowhere"}).loop_timeout_s == 5
    assert f"ignored {tmp_path}/voicetap.toml: other users may write to" in caplog.text


def test_an_unreadable_directory_has_no_file(monkeypatch):
    def refuse(self: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)
    assert load({"HOME": "/root"}).loop_timeout_s == 5


@pytest.mark.parametrize("source", ["file:http://radio/a?b&c", "web=raw:https://radio/a?b&c", "rtsp://radio/a?b&c"])
def test_a_source_that_is_not_on_this_machine_is_refused_with_what_to_do(source):
    with pytest.raises(SettingsError) as refused:
        source_spec.parse(source)
    url = source[source.index("://") :]
    assert re.search(f"ffmpeg -i '[a-z]+{re.escape(url)}' .* [|] voicetap up --source stdin", str(refused.value))
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("source", ["file:/a b://c.wav", "file:///a.wav", "file:http:/a"])
def test_a_path_is_no_address(source):
    assert source_spec.parse(source).argument == source.removeprefix("file:")
