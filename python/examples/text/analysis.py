"""What can be said about a text with the standard library."""

import re
from collections import Counter
from typing import Dict, List, NamedTuple, Tuple

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_SENTENCE_END = re.compile(r"[.!?]+(?:[\"')\]]*)(?=\s|$)")
_SYLLABLE = re.compile(r"[aeiouyäöüáéíóúàèùâêîôû]+")

# The commonest words of each language: they give it away, and say nothing else.
_COMMON: Dict[str, List[str]] = {
    "en": "the of and to in is that for this or you any with by a be are as it not "
    "such on an if under your may from other all".split(),
    "de": "der die das und in den von zu mit sich des auf für ist im dem nicht ein "
    "eine als auch es an werden aus".split(),
    "fr": "le la les de des et à un une du dans est que pour qui sur par pas au ne "
    "se ce il sont avec".split(),
    "es": "el la los las de y en que un una por con no para es al lo como más del "
    "se su o este son".split(),
}

# A licence's own title. Others name it too ("the GNU General Public License"),
# so the earliest in the text counts, the longer one where two begin together.
_LICENCES: Dict[str, str] = {
    "GNU AFFERO GENERAL PUBLIC": "AGPL",
    "GNU LESSER GENERAL PUBLIC": "LGPL",
    "GNU LIBRARY GENERAL PUBLIC": "LGPL",
    "GNU FREE DOCUMENTATION": "GFDL",
    "GNU GENERAL PUBLIC": "GPL",
    "APACHE LICENSE": "Apache",
    'THE "ARTISTIC LICENSE"': "Artistic",
    "MOZILLA PUBLIC LICENSE": "MPL",
    "CC0 1.0 UNIVERSAL": "CC0",
    "REGENTS OF THE UNIVERSITY OF CALIFORNIA": "BSD",
}


class Analysis(NamedTuple):
    words: int
    sentences: int
    unique_words: int
    top_words: List[Tuple[str, int]]
    reading_grade: float
    language: str
    licence: str


def words_of(text: str) -> List[str]:
    """The words, as written."""
    return _WORD.findall(text)


def analyze(text: str) -> Analysis:
    words = [word.lower() for word in words_of(text)]
    counts = Counter(words)
    sentences = max(len(_SENTENCE_END.findall(text)), 1 if words else 0)
    language = _language(counts)
    common = set(_COMMON.get(language, ()))
    telling = Counter(
        {w: n for w, n in counts.items() if w not in common and len(w) > 2}
    )
    # Ties by alphabet, so that every worker gives the same answer.
    top = sorted(telling.items(), key=lambda item: (-item[1], item[0]))[:5]
    return Analysis(
        len(words),
        sentences,
        len(counts),
        top,
        _reading_grade(words, sentences),
        language,
        _licence(text),
    )


def _language(counts: "Counter[str]") -> str:
    scores = {
        language: sum(counts[word] for word in common)
        for language, common in _COMMON.items()
    }
    best = max(scores, key=lambda language: scores[language])
    # A tenth of the words, and nobody else as many.
    if scores[best] * 10 < sum(counts.values()) or scores[best] == 0:
        return ""
    return best if list(scores.values()).count(scores[best]) == 1 else ""


def _reading_grade(words: List[str], sentences: int) -> float:
    if not words:
        return 0.0
    syllables = sum(max(len(_SYLLABLE.findall(word)), 1) for word in words)
    grade = 0.39 * len(words) / sentences + 11.8 * syllables / len(words) - 15.59
    return round(grade, 1)


def _licence(text: str) -> str:
    upper = " ".join(text.upper().split())
    found = [
        (at, -len(title), family)
        for title, family in _LICENCES.items()
        for at in [upper.find(title)]
        if at >= 0
    ]
    return min(found)[2] if found else ""
