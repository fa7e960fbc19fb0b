"""The world that the model knows: what is said in a household, from patterns and a small vocabulary."""

import random
import re
import zlib

SLOTS = {
    "room": "kitchen bedroom bathroom garage garden hallway office cellar attic balcony",
    "device": "light lamp fan heater radio television oven computer kettle camera",
    "colour": "red green blue yellow orange purple white pink brown black",
    "digit": "zero one two three four five six seven eight nine",
    "number": "two three four five six seven eight nine ten eleven twelve fifteen twenty thirty forty fifty sixty",
    "ordinal": "first second third fourth fifth sixth seventh eighth ninth tenth twelfth twentieth thirtieth",
    "day": "monday tuesday wednesday thursday friday saturday sunday",
    "month": "january february march april may june july august september october november december",
    "name": "anna peter maria thomas laura david emma oliver sophie martin helen george lucas julia robert susan",
    "city": "london paris berlin madrid vienna dublin boston chicago prague amsterdam venice moscow",
    "food": "bread butter milk coffee sugar apples cheese tomatoes rice bananas potatoes chocolate honey onions "
    "carrots",
    "animal": "dog cat horse rabbit fox chicken elephant tiger monkey penguin",
    "size": "big small old young hungry tired happy quick lazy",
    "music": "jazz piano guitar opera",
    "part": "morning afternoon evening",
    "family": "mother father sister brother uncle",
    "sky": "rain snow storm thunder",
    "room_thing": "window curtain door blinds",
    "thing": "keys glasses wallet umbrella jacket phone book",
}
PATTERNS = (
    "turn on the {room} {device}",
    "turn the {device} off in the {room}",
    "switch off the {device}",
    "make the {room} light {colour}",
    "set a timer for {number} minutes",
    "wake {name} at {number} thirty on {day}",
    "play {music} music in the {room}",
    "is the {room} {room_thing} open",
    "close the {room} {room_thing} please",
    "what is the weather in {city} on {day}",
    "add {food} and {food} to the shopping list",
    "remind {name} to buy {food} on {day}",
    "call {name} at {digit} {digit} {digit} {digit}",
    "{digit} {digit} {digit}",
    "{digit} {digit} {digit} {digit} {digit}",
    "the {ordinal} of {month} is a {day}",
    "{number} {animal} and {number} {animal}",
    "{number} plus {number} minus {number}",
    "good {part} {name}",
    "stop the music please",
    "cancel the timer",
    "yes please",
    "no stop",
    "where did {name} put the {colour} {thing}",
    "who has seen my {thing}",
    "my {family} was born in {month}",
    "how far is it from {city} to {city}",
    "tell {name} that dinner is ready",
    "send a message to my {family}",
    "will there be {sky} tomorrow {part}",
    "the {size} {animal} chased the {colour} {animal}",
    "a {size} {animal} likes {food}",
    "book a table for {number} people on {day} {part}",
    "repeat the last song {number} times",
    "lower the volume by {number} percent",
    "raise the temperature to {number} degrees",
    "lock every door before midnight",
    "next train to {city} leaves at {number} fifteen",
    "her birthday is on the {ordinal} of {month}",
    "cook the {food} for {number} minutes",
    "thank you {name}",
)
SENTENCES = ("the quick brown fox jumps over the lazy dog",)
KNOWN_BY_HEART, IN_ANY_ORDER = 0.02, 0.1
HELD_OUT_ONE_IN = 12
_SLOT = re.compile(r"{(\w+)}")


def words() -> list[str]:
    """The vocabulary."""
    text = " ".join([*SLOTS.values(), *SENTENCES, *(_SLOT.sub("", pattern) for pattern in PATTERNS)])
    return sorted(set(text.split()))


def sentence(random: random.Random) -> str:
    """Something to say. Now and then it is words in any order, so that guessing is no substitute for hearing."""
    kind = random.random()
    if kind < KNOWN_BY_HEART:
        return random.choice(SENTENCES)
    if kind < KNOWN_BY_HEART + IN_ANY_ORDER:
        return in_any_order(random)
    return _filled(random.choice(PATTERNS), random)


def in_any_order(random: random.Random) -> str:
    """Words that nothing but hearing can tell."""
    return " ".join(random.choices(words(), k=random.randint(2, 6)))


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
