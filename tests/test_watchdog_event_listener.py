"""EventListener: supervisord's event protocol over pipes."""

import os

import pytest

from voicetap_watchdog.event_listener import OK, READY, EventListener

EVENT = b"ver:3.0 server:voicetap serial:1 pool:watchdog poolserial:1 eventname:TICK_5 len:10\nwhen:12345\n"[:-1]


@pytest.fixture
def pipes():
    fds = [*os.pipe(), *os.pipe()]
    yield fds
    for fd in fds:
        try:
            os.close(fd)
        except OSError:
            continue  # the test closed it


def test_events_are_acknowledged_however_they_are_split(pipes):
    events_fd, supervisord_fd, answers_fd, out_fd = pipes
    with EventListener(events_fd, out_fd) as listener:
        assert os.read(answers_fd, 100) == READY
        os.write(supervisord_fd, EVENT[:30])
        assert listener.read() == 0
        os.write(supervisord_fd, EVENT[30:] + EVENT)
        assert listener.read() == 2
        assert os.read(answers_fd, 100) == (OK + READY) * 2


def test_the_exit_of_supervisord_ends_the_stream(pipes):
    events_fd, supervisord_fd, _, out_fd = pipes
    with EventListener(events_fd, out_fd) as listener:
        os.close(supervisord_fd)
        with pytest.raises(EOFError):
            listener.read()
