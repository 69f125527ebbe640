"""Makes huggingface.json: small tokenizers and what Hugging Face's `tokenizers` (0.23) makes of some texts.

    python tests/data/text/make_fixtures.py
"""
import gzip
import json
import tempfile
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from dlcore.data.text import TextTokenizer

HERE = Path(__file__).parent
SAMPLES = [
    "Hello, world! It's a test... 123 don't I'LL we've", "  leading and   many spaces \n\n newline\ttab ",
    "你好，世界！這是測試。今日は良い天気です", "Привет мир! Ёлка – это хорошо", "مرحبا بالعالم ١٢٣", "naïve café ÅÄÖ ßẞ İstanbul ΣΑΣ Σ",
    "emoji 😀👩‍👩‍👧 🇩🇪 ½ ² Ⅷ 一二三", "a\u00a0b\u2003c\u200bd\x1c\x1de", "<|endoftext|>x<|endoftext|> y [MASK] [CLS]",
    "e\u0301 combining हिन्दी में", "", "don't I'Re 'S x's", "foo_bar __init__ 3.14 1,000",
]


def gpt2():
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "vocab.bpe").write_bytes(gzip.decompress((HERE / "gpt2_vocab.bpe.gz").read_bytes()))
        return TextTokenizer.gpt2(folder).to_json()


def variants(texts):
    """name -> tokenizer.json; different parts of the format in each."""
    wordpiece = TextTokenizer.train("wordpiece", texts, 500, lowercase=True, special=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))
    bert = tokenizers.Tokenizer.from_str(json.dumps(wordpiece.to_json()))
    bert.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1",
                                                        [("[CLS]", 2), ("[SEP]", 3)])
    bert.enable_truncation(12)
    yield "wordpiece with a template, 12 tokens", json.loads(bert.to_str())
    bpe = TextTokenizer.train("bpe", texts, 700)
    yield "byte-level bpe", bpe.to_json()
    split = tokenizers.Tokenizer.from_str(json.dumps(bpe.to_json()))
    split.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("'", "’"), normalizers.Strip()])
    split.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(tokenizers.Regex(r"\p{N}{1,3}|[^\r\n\p{L}\p{N}]?\p{L}+|\s+(?!\S)|\s+"), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    yield "a pattern with categories", json.loads(split.to_str())
    fallback = {**{f"<0x{b:02X}>": b + 1 for b in range(256)}, "<unk>": 0, "▁": 257, "▁a": 258, "a": 259, "l": 260, "d": 261}
    llama = tokenizers.Tokenizer(models.BPE(fallback, [("▁", "a")],
                                            unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    llama.pre_tokenizer = pre_tokenizers.Metaspace()
    llama.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    yield "bytes for what is unknown", json.loads(llama.to_str())
    for name, behaviour in (("digits", None), *((b, b) for b in ("removed", "merged_with_previous", "merged_with_next", "contiguous"))):
        level = tokenizers.Tokenizer(models.WordLevel({"[UNK]": 0, "test": 1, ",": 2, "don": 3, "'": 4, "don'": 5, "'t": 6, "...": 7, "1": 8,
                                                       "123": 9, "t": 10, ".": 11}, "[UNK]"))
        level.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Punctuation(behaviour) if behaviour else pre_tokenizers.Digits(individual_digits=True)])
        yield f"punctuation or digits, {name}", json.loads(level.to_str())
    level.pre_tokenizer = pre_tokenizers.Whitespace()
    yield "words and marks", json.loads(level.to_str())


def main():
    texts = [line for name in ("sms_400.tsv", "sib200_zho_Hans_dev.tsv") for line in (HERE / name).read_text("utf-8").splitlines()]
    found = []
    for name, config in [("gpt2", gpt2()), *variants(texts)]:
        theirs = tokenizers.Tokenizer.from_str(json.dumps(config))
        encoded = [theirs.encode(s).ids for s in SAMPLES]
        found.append({"name": name, "config": None if name == "gpt2" else config, "ids": encoded,
                      "plain": [theirs.encode(s, add_special_tokens=False).ids for s in SAMPLES],
                      "texts": [theirs.decode(ids) for ids in encoded]})
    (HERE / "huggingface.json").write_text(json.dumps({"samples": SAMPLES, "tokenizers": found}, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
