"""Words that stand for secrets: a different one for each place, so a leak names its place."""

from __future__ import annotations

import base64
import re
import secrets


class Canaries:
    """The canary words of a test; finds them in text, also encoded."""

    def __init__(self) -> None:
        self._words: dict[str, str] = {}

    def put(self, template: str) -> bytes:
        """Return bytes with a word in place of each `$name`; `$(...)` becomes Base64."""
        text = re.sub(r"\$(\w+)", lambda name: self._word(name[1]), template)
        text = re.sub(
            r"\$\((.*?)\)", lambda plain: base64.b64encode(plain[1].encode()).decode(), text
        )
        return text.encode("latin-1")

    def found(self, text: str) -> set[str]:
        """Return the places whose words are in a text: plain, in hexadecimal or in Base64."""
        lower = text.lower()
        return {
            name
            for name, word in self._words.items()
            if word in lower
            or word.encode().hex() in lower
            or any(_base64(word, before) in text for before in range(3))
        }

    def _word(self, name: str) -> str:
        # Letters and digits need no escaping in host names, header names and JSON.
        return self._words.setdefault(name, f"canary{secrets.token_hex(6)}")


def _base64(word: str, before: int) -> str:
    """Return what any Base64 text contains if the word is at offset `before`, modulo 3."""
    coded = base64.b64encode(b"x" * before + word.encode()).decode()
    return coded[4 if before else 0 : -4]
