"""The peer of `translate.py`: its Transformer in PyTorch, trained on the job in a folder.

    python translate_torch.py FOLDER            reads job.npz, writes weights.npz and report.json

Weights are called as dlcore calls them; their initial values are drawn here.
"""
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F


class Network:
    def __init__(self, settings, positions, vocabulary_end):
        self.s, self.root = settings, "translation_transformer/"
        self.w = {name: self.begun(name, shape) for name, shape in settings["weights"].items()}
        self.positions, self.training = positions, True

    def begun(self, name, shape):
        value = torch.zeros(shape)
        if name.endswith("gamma"):
            value.fill_(1)
        elif name.endswith("embeddings"):
            value.normal_(0, shape[1] ** -0.5)
        elif name.endswith("qkv_kernel"):                   # three matrices side by side
            value = torch.cat([torch.nn.init.xavier_uniform_(torch.empty(shape[0], shape[1] // 3)) for _ in range(3)], 1)
        elif name.endswith("kernel"):
            torch.nn.init.xavier_uniform_(value)
        return value.requires_grad_()

    def drop(self, x):
        return F.dropout(x, self.s["dropout"], self.training)

    def linear(self, x, name):
        return x @ self.w[f"{name}kernel"] + self.w[f"{name}bias"]

    def norm(self, x, name):
        return F.layer_norm(x, x.shape[-1:], self.w[name + "/gamma"], self.w[name + "/beta"], 1e-5)

    def heads(self, x):
        return x.view(*x.shape[:2], self.s["heads"], -1).transpose(1, 2)

    def attended(self, q, k, v, name, **options):
        out = F.scaled_dot_product_attention(self.heads(q), self.heads(k), self.heads(v), **options)
        return self.linear(out.transpose(1, 2).reshape(q.shape), f"{name}/output_")

    def self_attention(self, x, name, **options):
        return self.attended(*self.linear(x, f"{name}/qkv_").chunk(3, -1), name, **options)

    def cross_attention(self, x, memory, name, mask):
        q, k, v = (self.linear(t, f"{name}/{what}_") for t, what in ((x, "query"), (memory, "key"), (memory, "value")))
        return self.attended(q, k, v, name, attn_mask=mask)

    def dense(self, x, block):
        return self.linear(F.relu(self.linear(x, f"{block}/dense/")), f"{block}/dense_1/")

    def embedded(self, ids, which):
        table = self.w[f"{self.root}embedding{which}/embeddings"]
        x = F.embedding(ids, table) * math.sqrt(self.s["width"])
        return self.drop(x + self.positions[f"{self.root}positional_embedding{which}/positions"][:ids.shape[1]])

    def logits(self, source, target):
        mask = (source != 0)[:, None, None]
        x = self.embedded(source, "")
        for n in range(self.s["layers"]):
            b = f"{self.root}encoder_{n}"
            x = x + self.drop(self.self_attention(self.norm(x, f"{b}/layer_normalization"), f"{b}/multi_head_attention",
                                                  attn_mask=mask))
            x = x + self.drop(self.dense(self.norm(x, f"{b}/layer_normalization_1"), b))
        memory = self.norm(x, f"{self.root}layer_normalization")
        x = self.embedded(target, "_1")
        for n in range(self.s["layers"]):
            b = f"{self.root}decoder_{n}"
            x = x + self.drop(self.self_attention(self.norm(x, f"{b}/layer_normalization"), f"{b}/multi_head_attention",
                                                  is_causal=True))
            x = x + self.drop(self.cross_attention(self.norm(x, f"{b}/layer_normalization_1"), memory,
                                                   f"{b}/multi_head_attention_1", mask))
            x = x + self.drop(self.dense(self.norm(x, f"{b}/layer_normalization_2"), b))
        return self.norm(x, f"{self.root}layer_normalization_1") @ self.w[f"{self.root}embedding_1/embeddings"].T


def rows_of(job, name):
    ends = job[f"{name}_ends"]
    return np.split(job[name], ends[:-1])


def batch(sources, targets, rows, begin, end):
    def filled(lists, value):
        longest = max(map(len, lists))
        return torch.tensor([[*ids, *[value] * (longest - len(ids))] for ids in lists])
    s, t = [sources[n] for n in rows], [targets[n] for n in rows]
    return filled(s, 0), filled([[begin, *ids] for ids in t], 0), filled([[*ids, end] for ids in t], -1)


def main():
    folder = Path(sys.argv[1])
    job = np.load(folder / "job.npz")
    settings = json.loads(str(job["settings"]))
    torch.manual_seed(int(job["seed"]))
    begin, end, rates = int(job["begin"]), int(job["end"]), job["rates"]
    train, val = ([[r.tolist() for r in rows_of(job, f"{part}_{side}")] for side in ("sources", "targets")]
                  for part in ("train", "val"))
    net = Network(settings, {name: torch.tensor(job[name]) for name in settings["positions"]}, end)
    parameters = list(net.w.values())
    optimizer = torch.optim.Adam(parameters, betas=(0.9, 0.999), eps=1e-8, fused=True)

    def measured():
        net.training, loss, count = False, 0.0, 0
        with torch.no_grad():
            for rows in rows_of(job, "val_order"):
                s, t, y = batch(*val, rows, begin, end)
                loss += float(F.cross_entropy(net.logits(s, t).flatten(0, 1), y.flatten(), ignore_index=-1, reduction="sum"))
                count += int((y >= 0).sum())
        net.training = True
        return loss / count
    began, cpu, history, kept = time.perf_counter(), time.process_time(), [], {}
    for step, rows in enumerate(rows_of(job, "order")):
        s, t, y = batch(*train, rows, begin, end)
        for group in optimizer.param_groups:
            group["lr"] = float(rates[step])
        optimizer.zero_grad()
        F.cross_entropy(net.logits(s, t).flatten(0, 1), y.flatten(), ignore_index=-1,
                        label_smoothing=settings["label_smoothing"]).backward()
        torch.nn.utils.clip_grad_norm_(parameters, settings["clip"])
        optimizer.step()
        if (step + 1) % settings["steps_per_epoch"] == 0:
            history.append(measured())
            print("torch epoch", len(history), "val_loss", history[-1], f"{time.perf_counter() - began:.0f} s", flush=True)
            if history[-1] == min(history):
                kept = {name: w.detach().numpy().copy() for name, w in net.w.items()}
    report = {"seconds": round(time.perf_counter() - began, 1), "cpu_seconds": round(time.process_time() - cpu, 1),
              "val_loss": min(history), "torch": torch.__version__, "threads": torch.get_num_threads()}
    np.savez(folder / "weights.npz", **kept)
    (folder / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
