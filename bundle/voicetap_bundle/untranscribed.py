"""How many utterances a stop left without text: it is bounded, and a slow recogniser may not be done by then."""

from voicetap.messages import Failed
from voicetap.tap import TapMessage


class Untranscribed:
    """Shown everything that is published during a stop, it knows what to say at its end."""

    def __init__(self) -> None:
        self.count = 0

    def hear(self, heard: TapMessage | None) -> None:
        self.count += isinstance(heard, Failed) and heard.reason == "stopped"

    def __str__(self) -> str:
        many = "utterance was" if self.count == 1 else "utterances were"
        return f"{self.count} {many} not transcribed: there was no time for it"
