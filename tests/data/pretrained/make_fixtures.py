"""Makes the small folders of Hugging Face's kind beside this file, with random weights, and expected.npz: what transformers gives.

    python tests/data/pretrained/make_fixtures.py           (torch and transformers 5)
"""
import json
import shutil
from pathlib import Path

import numpy as np
import torch
import transformers as tf

HERE = Path(__file__).parent
WORDS = ("the a of and to in card my is where bank account money transfer lost pin new can you i want it was not how do "
         "what when will be cash top up app").split()
PIECES = [*"abcdefghijklmnopqrstuvwxyz0123456789?!.,'", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789"), "##ing", "##ed", "##s"]
TEXTS = ["Where is my new card?", "I lost the PIN of my account!", "cash", "the app was transferring money to a bank, not to my account"]


def saved(model, name, **options):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(0)
    for parameter in model.parameters():            # far from their initial values: biases of 0 would hide mistakes
        parameter.data = torch.randn_like(parameter) * (0.3 if parameter.dim() > 1 else 0.2) + (parameter.dim() == 1)
    model.eval().save_pretrained(folder, **options)
    (folder / "generation_config.json").unlink(missing_ok=True)
    return model, folder


def bert(found):
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *(p for p in PIECES if p not in WORDS)]
    model, folder = saved(tf.BertModel(tf.BertConfig(
        vocab_size=len(vocabulary), hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
        max_position_embeddings=32)), "bert_tiny")
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}\n')
    (folder / "modules.json").write_text(json.dumps([
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate([("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")])]) + "\n")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps(
        {"word_embedding_dimension": 24, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}) + "\n")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 12, "do_lower_case": false}\n')
    tokenizer = tf.BertTokenizer(str(folder / "vocab.txt"), do_lower_case=True)
    rows = []
    for text in TEXTS:
        ids = tokenizer(text, truncation=True, max_length=12, return_tensors="pt")
        mean = model(**ids).last_hidden_state[0].mean(0)
        rows.append((mean / mean.norm()).detach().numpy())
    pair = tokenizer("my card", "is lost", return_tensors="pt")
    found |= {"bert/texts": np.array(TEXTS), "bert/vectors": np.stack(rows), "bert/ids": pair["input_ids"].numpy(),
              "bert/segments": pair["token_type_ids"].numpy(), "bert/pair": model(**pair).last_hidden_state.detach().numpy()}


def gpt2(found):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.train_from_iterator(TEXTS * 3, trainers.BpeTrainer(
        vocab_size=299, min_frequency=1, special_tokens=[], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokens = json.loads(made.to_str())["model"]
    model, folder = saved(tf.GPT2LMHeadModel(tf.GPT2Config(
        vocab_size=304, n_positions=20, n_embd=16, n_layer=2, n_head=2)), "gpt2_tiny")      # more rows than there are tokens
    tokens["vocab"]["<|endoftext|>"] = len(tokens["vocab"])
    (folder / "vocab.json").write_text(json.dumps(tokens["vocab"], ensure_ascii=False) + "\n")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in tokens["merges"]) + "\n")
    logits(found, "gpt2", model, 304)


def llama(found):
    model, folder = saved(tf.LlamaForCausalLM(tf.LlamaConfig(
        vocab_size=259, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2,
        max_position_embeddings=24, rms_norm_eps=1e-5, rope_theta=5000.0)), "llama_tiny", max_shard_size="30KB")
    logits(found, "llama", model, 259)


def logits(found, name, model, vocabulary):
    ids = np.random.default_rng(1).integers(3, vocabulary, (2, 17))
    prompt = torch.tensor(ids[:1, :5])
    written = model.generate(prompt, max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0)
    found |= {f"{name}/ids": ids, f"{name}/logits": model(torch.tensor(ids)).logits.detach().numpy(),
              f"{name}/greedy": written[0].numpy()}


if __name__ == "__main__":
    arrays: dict = {}
    for make in (bert, gpt2, llama):
        make(arrays)
    np.savez_compressed(HERE / "expected.npz", **arrays)
