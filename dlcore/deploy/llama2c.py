"""Models in the binary form of llama2.c (https://github.com/karpathy/llama2.c), as a folder of Hugging Face's kind would hold them.

A checkpoint, little endian: seven i32 (dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len), a negative vocab_size
where input and output tables differ; then f32, each tensor for all layers: the table [V, dim], the attention norms, wq, wk, wv,
wo, the dense norms, w1 [hidden, dim], w2 [dim, hidden], w3, the last norm, two tables of rotary angles [seq_len, head / 2] that
are made anew here, and the output table where it is one.  Its heads are turned in pairs (2r, 2r + 1), here in pairs (r, R + r): the
rows of wq and wk are put in that order.

A tokenizer: i32, the longest token; then for each token f32, its score, i32, its length, and its bytes.
"""
from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from dlcore.data.text.tokenizer import TextTokenizer, added_token, description
from dlcore.deploy.huggingface import Folder
from dlcore.errors import ModelFileError

_HEADER, _VERSIONED = struct.Struct("<7i"), b"24ka"
_NAMES = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len")
_PICKLED = (b"PK\x03\x04", b"\x80\x02", b"\x80\x04")
_LONGEST_TOKEN = 1 << 12
UNKNOWN, BEGIN, END, BYTES = "<unk>", "<s>", "</s>", 3          # the first three tokens; then 256 bytes
_MARK = "\u2581"                                                # what stands for a blank


def read(path: str | Path) -> Folder:
    """config and tensors of a checkpoint, named as those of a Llama at Hugging Face.   ModelFileError"""
    place = Path(path)
    try:
        data = np.memmap(place, np.uint8, "r") if place.stat().st_size else np.zeros(0, np.uint8)
    except OSError as error:
        raise ModelFileError("the model cannot be read", where=str(place), got=error.strerror or str(error)) from None
    head = bytes(data[:_HEADER.size])
    if head.startswith(_PICKLED):
        raise ModelFileError("the weights are pickled, and were not read: reading them could run a program that is hidden in them",
                             where=str(place), expected="a folder with model.safetensors, or a checkpoint of llama2.c")
    if head.startswith(_VERSIONED):
        raise ModelFileError("this version of llama2.c's format is not supported", where=str(place), expected="version 0",
                             hint="export.py --version 0 writes it")
    if len(head) < _HEADER.size:
        raise ModelFileError("the checkpoint is cut short", where=str(place), got=f"{len(head)} bytes")
    sizes = dict(zip(_NAMES, _HEADER.unpack(head), strict=True))
    shared, vocabulary = sizes["vocab_size"] > 0, abs(sizes["vocab_size"])
    dim, hidden, layers, heads, groups, _, length = sizes.values()
    if not (all(0 < n < 1 << 24 for n in (*list(sizes.values())[:5], vocabulary, length)) and dim % heads == 0
            and heads % groups == 0 and (dim // heads) % 2 == 0):
        raise ModelFileError("this is no checkpoint of llama2.c", where=str(place),
                             got=", ".join(f"{n} {v}" for n, v in sizes.items()))
    config = {"model_type": "llama", "hidden_size": dim, "intermediate_size": hidden, "num_hidden_layers": layers,
              "num_attention_heads": heads, "num_key_value_heads": groups, "vocab_size": vocabulary,
              "max_position_embeddings": length, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
              "tie_word_embeddings": shared}
    size, kv = dim // heads, dim // heads * groups
    shapes = {"table": (vocabulary, dim), "input_layernorm": (layers, dim), "q": (layers, dim, dim), "k": (layers, kv, dim),
              "v": (layers, kv, dim), "o": (layers, dim, dim), "post_attention_layernorm": (layers, dim),
              "gate": (layers, hidden, dim), "down": (layers, dim, hidden), "up": (layers, hidden, dim), "norm": (dim,),
              "angles": (2, length, size // 2), **({} if shared else {"head": (vocabulary, dim)})}
    counts = [int(np.prod(shape, dtype=np.int64)) for shape in shapes.values()]
    expected = _HEADER.size + 4 * sum(counts)
    if len(data) != expected:
        raise ModelFileError("the checkpoint's size is not that of its header", where=str(place), expected=f"{expected:,} bytes",
                             got=f"{len(data):,}")
    flat = data[_HEADER.size:].view("<f4")
    parts = {name: part.reshape(shape) for (name, shape), part in
             zip(shapes.items(), np.split(flat, np.cumsum(counts)[:-1]), strict=True)}
    return Folder(config, named(parts, layers, heads, groups, size, shared), str(place))


def named(parts: dict[str, np.ndarray], layers: int, heads: int, groups: int, size: int, shared: bool) -> dict[str, np.ndarray]:
    """The parts, layer by layer, under Hugging Face's names."""
    def halves(rows: np.ndarray, count: int) -> np.ndarray:
        """The rows of each head, those of even number first."""
        return rows.reshape(count, size // 2, 2, -1).transpose(0, 2, 1, 3).reshape(rows.shape)
    found = {"embed_tokens.weight": parts["table"], "norm.weight": parts["norm"]}
    if not shared:
        found["lm_head.weight"] = parts["head"]
    for i in range(layers):
        stem = f"layers.{i}"
        found |= {f"{stem}.self_attn.q_proj.weight": halves(parts["q"][i], heads),
                  f"{stem}.self_attn.k_proj.weight": halves(parts["k"][i], groups),
                  **{f"{stem}.self_attn.{n}_proj.weight": parts[n][i] for n in "vo"},
                  **{f"{stem}.mlp.{n}_proj.weight": parts[n][i] for n in ("gate", "up", "down")},
                  **{f"{stem}.{n}.weight": parts[n][i] for n in ("input_layernorm", "post_attention_layernorm")}}
    return found


# ---- tokenizers ------------------------------------------------------------------------------------------------------
def tokenizer_beside(place: Path, vocabulary: int) -> Path:
    """tokenizer.bin or tok512.bin, as llama2.c calls them, beside a checkpoint.   ModelFileError where there is none."""
    names = (f"tok{vocabulary}.bin", "tokenizer.bin")
    for name in names:
        if (place.parent / name).is_file():
            return place.parent / name
    raise ModelFileError("the model has no tokenizer", where=str(place.parent), expected=" or ".join(names),
                         hint="name it: --tokenizer FILE")


def tokenizer(path: str | Path, vocabulary: int) -> TextTokenizer:
    """The tokenizer of so many tokens in a file of llama2.c.   ModelFileError"""
    place = Path(path)
    try:
        data = place.read_bytes()
    except OSError as error:
        raise ModelFileError("the tokenizer cannot be read", where=str(place), got=error.strerror or str(error)) from None
    pieces, scores, at = [], [], 4
    for n in range(vocabulary):
        score, size = struct.unpack_from("<fi", data, at) if len(data) >= at + 8 else (0.0, -1)
        if not 0 <= size <= _LONGEST_TOKEN or len(data) < at + 8 + size:
            raise ModelFileError("this is no tokenizer of llama2.c for this model", where=str(place),
                                 expected=f"{vocabulary} tokens", got=f"{n}, in {len(data):,} bytes")
        pieces.append(data[at + 8:at + 8 + size].decode("utf-8", "replace"))
        scores.append(score)
        at += 8 + size
    if at != len(data):
        raise ModelFileError("the tokenizer does not fit the model", where=str(place), expected=f"{vocabulary} tokens", got="more")
    if vocabulary < BYTES + 256 or pieces[BYTES] != "<0x00>":
        raise ModelFileError("this is no tokenizer of llama2.c", where=str(place), expected="three special tokens, then 256 bytes")
    return TextTokenizer(sentence_pieces(pieces, scores), str(place))


def sentence_pieces(pieces: list[str], scores: list[float]) -> dict[str, object]:
    """tokenizer.json of byte pairs whose better score is merged first: that of the merged token, the same for all its pairs."""
    tokens = [UNKNOWN, BEGIN, END, *(p if BYTES <= i < BYTES + 256 else p.replace(" ", _MARK) for i, p in enumerate(pieces[3:], 3))]
    vocabulary: dict[str, int] = {}
    for i, token in enumerate(tokens):
        vocabulary.setdefault(token, i)
    ranked = sorted(range(BYTES + 256, len(tokens)), key=lambda i: (-scores[i], i))
    merges = [[tokens[i][:k], tokens[i][k:]] for i in ranked for k in range(1, len(tokens[i]))
              if tokens[i][:k] in vocabulary and tokens[i][k:] in vocabulary]
    model = {"type": "BPE", "vocab": vocabulary, "merges": merges, "unk_token": UNKNOWN, "fuse_unk": True, "byte_fallback": True}
    clean = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": _MARK},
                                                 {"type": "Replace", "pattern": {"String": " "}, "content": _MARK}]}
    decode = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": _MARK}, "content": " "},
                                               {"type": "ByteFallback"}, {"type": "Fuse"},
                                               {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    made = description(model, clean, None, decode, [added_token(t, i) for i, t in enumerate((UNKNOWN, BEGIN, END))])
    begin = {"SpecialToken": {"id": BEGIN, "type_id": 0}}
    made["post_processor"] = {
        "type": "TemplateProcessing", "single": [begin, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [begin, {"Sequence": {"id": "A", "type_id": 0}}, begin, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {BEGIN: {"id": BEGIN, "ids": [1], "tokens": [BEGIN]}}}
    return made
