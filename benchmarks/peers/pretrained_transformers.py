"""What transformers gives: embeddings of texts by a sentence encoder, or logits of a language model with random weights.

    python pretrained_transformers.py embed FOLDER IN.npz OUT.npy           IN: texts
    python pretrained_transformers.py gpt2|llama FOLDER IN.npz OUT.npy      IN: ids; the model is made and written to FOLDER
"""
import sys

import numpy as np
import torch
import transformers as tf


def embed(folder, texts):
    """The mean over the tokens, at most 256, at length 1: all-MiniLM-L6-v2's own recipe."""
    tokenizer, model = tf.AutoTokenizer.from_pretrained(folder), tf.AutoModel.from_pretrained(folder).eval()
    out = []
    for text in texts.tolist():
        found = tokenizer([text], truncation=True, max_length=256, padding=False, return_tensors="pt")
        mean = model(**found).last_hidden_state[0].mean(0)
        out.append((mean / mean.norm()).numpy())
    return np.stack(out)


def logits(shape, folder, ids):
    torch.manual_seed(0)
    if shape == "gpt2":
        model = tf.GPT2LMHeadModel(tf.GPT2Config())             # 124M
    else:
        model = tf.LlamaForCausalLM(tf.LlamaConfig(vocab_size=4000, hidden_size=512, intermediate_size=1376, num_hidden_layers=6,
                                                   num_attention_heads=8, num_key_value_heads=2, max_position_embeddings=256))
    model.eval().save_pretrained(folder)
    return model(torch.tensor(ids, dtype=torch.long)).logits.numpy()


if __name__ == "__main__":
    job, place, source, target = sys.argv[1:]
    with torch.no_grad():
        given = np.load(source)
        np.save(target, embed(place, given["texts"]) if job == "embed" else logits(job, place, given["ids"]))
