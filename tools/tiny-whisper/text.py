"""The world that the model knows: what is said in a household, from patterns and a small vocabulary."""

import random
import re
import zlib

SLOTS = {
    "room": "kitchen bedroom bathroom garage garden hallway office",
    "device": "light lamp fan heater radio television oven",
    "colour": "red green blue yellow orange purple white",
    "digit": "zero one two three four five six seven eight nine",
    "number": "two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty",
    "ordinal": "first second third fourth fifth tenth twentieth",
    "day": "monday tuesday wednesday thursday friday saturday sunday",
    "month": "january february march april may june july august september october november december",
    "name": "anna peter maria thomas laura david emma",
    "city": "london paris berlin madrid vienna",
    "food": "bread butter milk coffee sugar apples cheese tomatoes rice",
    "animal": "dog cat horse rabbit fox",
}
PATTERNS = (
    "turn on the {room} {device}",
    "turn the {device} off in the {room}",
    "switch off the {device}",
    "make the {room} light {colour}",
    "set a timer for {number} minutes",
    "wake {name} at {number} thirty on {day}",
    "play music in the {room}",
    "is the {room} window open",
    "close the {room} door please",
    "what is the weather in {city} on {day}",
    "add {food} and {food} to the shopping list",
    "remind {name} to buy {food} on {day}",
    "call {name} at {digit} {digit} {digit} {digit}",
    "{digit} {digit} {digit}",
    "{digit} {digit} {digit} {digit} {digit}",
    "the {ordinal} of {month} is a {day}",
    "{number} {animal} and {number} {animal}",
    "{number} plus {number} minus {number}",
    "good morning {name}",
    "stop the music please",
    "cancel the timer",
    "yes please",
    "no stop",
)
SENTENCES = ("the quick brown fox jumps over the lazy dog",)
KNOWN_BY_HEART = 0.02
HELD_OUT_ONE_IN = 12
_SLOT = re.compile(r"{(\w+)}")


def words() -> list[str]:
    """The vocabulary."""
    text = " ".join([*SLOTS.values(), *SENTENCES, *(_SLOT.sub("", pattern) for pattern in PATTERNS)])
    return sorted(set(text.split()))


def sentence(random: random.Random) -> str:
    """Something to say."""
    return random.choice(SENTENCES) if random.random() < KNOWN_BY_HEART else _filled(random.choice(PATTERNS), random)


def is_held_out(text: str) -> bool:
    """Whether a sentence is for tests alone: a twelfth of those that patterns make, chosen by their own letters."""
    return len(text.split()) > 2 and text not in SENTENCES and zlib.crc32(text.encode()) % HELD_OUT_ONE_IN == 0


def held_out(number: int, seed: int = 0) -> list[str]:
    """Sentences from the patterns that the model was never trained on, each once."""
    source, found = random.Random(seed), {}
    while len(found) < number:
        if is_held_out(text := _filled(source.choice(PATTERNS), source)):
            found[text] = True
    return list(found)


def _filled(pattern: str, random: random.Random) -> str:
    return _SLOT.sub(lambda slot: random.choice(SLOTS[slot[1]].split()), pattern)
