"""Whisper's languages: which of them the setting names, and which one an utterance is decoded in. Pure."""

import re
from collections.abc import Sequence

from voicetap.config import nearest
from voicetap.errors import ConfigError

SURE = 0.5  # detected with less, an utterance is in the language of those before it
_NAMES = (  # code and names, as in OpenAI's whisper/tokenizer.py
    "en english|zh chinese mandarin|de german|es spanish castilian|ru russian|ko korean|fr french|ja japanese|"
    "pt portuguese|tr turkish|pl polish|ca catalan valencian|nl dutch flemish|ar arabic|sv swedish|it italian|"
    "id indonesian|hi hindi|fi finnish|vi vietnamese|he hebrew|uk ukrainian|el greek|ms malay|cs czech|"
    "ro romanian moldavian moldovan|da danish|hu hungarian|ta tamil|no norwegian|th thai|ur urdu|hr croatian|"
    "bg bulgarian|lt lithuanian|la latin|mi maori|ml malayalam|cy welsh|sk slovak|te telugu|fa persian|lv latvian|"
    "bn bengali|sr serbian|az azerbaijani|sl slovenian|kn kannada|et estonian|mk macedonian|br breton|eu basque|"
    "is icelandic|hy armenian|ne nepali|mn mongolian|bs bosnian|kk kazakh|sq albanian|sw swahili|gl galician|"
    "mr marathi|pa punjabi panjabi|si sinhala sinhalese|km khmer|sn shona|yo yoruba|so somali|af afrikaans|"
    "oc occitan|ka georgian|be belarusian|tg tajik|sd sindhi|gu gujarati|am amharic|yi yiddish|lo lao|uz uzbek|"
    "fo faroese|ht haitian|ps pashto pushto|tk turkmen|nn nynorsk|mt maltese|sa sanskrit|lb luxembourgish|"
    "my myanmar burmese|bo tibetan|tl tagalog|mg malagasy|as assamese|tt tatar|haw hawaiian|ln lingala|ha hausa|"
    "ba bashkir|jw javanese|su sundanese|yue cantonese"
)
CODES = {name: names.split()[0] for names in _NAMES.split("|") for name in names.split()}  # by code and by name


def parse(text: str) -> tuple[str, ...]:
    """The codes of `transcribe.language`: codes, names or locales (de, German, de-DE), separated by commas or spaces.

    Empty where any language is detected. Raises ConfigError.
    """
    found = []
    for name in re.split(r"[,;\s]+", text.strip().lower()):
        code = CODES.get(name) or CODES.get(re.split(r"[-_.]", name)[0])
        if name and not code:
            raise ConfigError(f"transcribe.language: there is no language {name}{nearest(name, CODES)}")
        if code and code not in found:
            found.append(code)
    return tuple(found)


def choose(detected: Sequence[tuple[str, float]], allowed: Sequence[str], last_sure: str) -> tuple[str, float]:
    """The language to decode in, and its probability.

    `detected`: all languages by falling probability. `allowed`: none are all. `last_sure`: of the same source.
    """
    probabilities = dict(detected)
    likely = [pair for pair in detected if not allowed or pair[0] in allowed] or [(allowed[0], 0.0)]
    if likely[0][1] < SURE and last_sure in probabilities and (not allowed or last_sure in allowed):
        return last_sure, probabilities[last_sure]
    return likely[0]
