"""Words to numbers and back: Whisper's special tokens above a byte-level vocabulary in which each word is one token."""

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

import text

SPECIAL = ("endoftext", "startoftranscript", "en", "translate", "transcribe", "startoflm", "startofprev", "nospeech")
TIMESTAMPS, TIMESTAMP_S = 1501, 0.02


def tokenizer() -> Tokenizer:
    """The same each time: learned from the vocabulary alone."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=10_000, min_frequency=1, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator((f" {word}" for word in text.words()), trainer)
    names = [*SPECIAL, "notimestamps", *(f"{TIMESTAMP_S * step:.2f}" for step in range(TIMESTAMPS))]
    made.add_special_tokens([AddedToken(f"<|{name}|>", special=True) for name in names])
    return made


class Tokens:
    """The numbers that training needs."""

    def __init__(self) -> None:
        self.tokenizer = tokenizer()
        self.size = self.tokenizer.get_vocab_size()
        self.words = [self.word(word) for word in text.words()]

    def special(self, name: str) -> int:
        return self.tokenizer.token_to_id(f"<|{name}|>")

    def time(self, seconds: float) -> int:
        return self.special("0.00") + round(seconds / TIMESTAMP_S)

    def word(self, word: str) -> int:
        (number,) = self.tokenizer.encode(f" {word}").ids
        return number
