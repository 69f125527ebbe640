"""W6's networks in PyTorch."""

import torch
from torch import nn
from torch.nn import functional as F


def heads_apart(x: torch.Tensor, heads: int) -> torch.Tensor:
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


class Block(nn.Module):
    """Attention and a dense network; the norms behind the sums (BERT) or first (GPT-2, with keys and values kept)."""

    def __init__(self, C: int, H: int, hidden: int) -> None:
        super().__init__()
        self.heads = H
        self.norm1, self.norm2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.qkv, self.out = nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.expand, self.contract = nn.Linear(C, hidden), nn.Linear(hidden, C)

    def attended(self, x: torch.Tensor, kept: torch.Tensor | None = None, at: int = 0) -> torch.Tensor:
        q, k, v = (heads_apart(t, self.heads) for t in self.qkv(x).chunk(3, -1))
        causal = False
        if kept is not None:
            end, causal = at + x.shape[1], x.shape[1] > 1
            kept[0][:, :, at:end], kept[1][:, :, at:end] = k, v
            k, v = kept[0][:, :, :end], kept[1][:, :, :end]
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.out(y.transpose(1, 2).reshape(x.shape))


class EncoderBlock(Block):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm1(x + self.attended(x))
        return self.norm2(x + self.contract(F.gelu(self.expand(x))))


class DecoderBlock(Block):
    def forward(self, x: torch.Tensor, kept: torch.Tensor, at: int) -> torch.Tensor:
        x = x + self.attended(self.norm1(x), kept, at)
        return x + self.contract(F.gelu(self.expand(self.norm2(x)), approximate="tanh"))


class Encoder(nn.Module):
    def __init__(self, V: int, T: int, L: int, H: int, C: int, hidden: int) -> None:
        super().__init__()
        self.words, self.positions, self.segments = nn.Embedding(V, C), nn.Embedding(T, C), nn.Embedding(2, C)
        self.norm = nn.LayerNorm(C)
        self.blocks = nn.ModuleList([EncoderBlock(C, H, hidden) for _ in range(L)])

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.words(ids) + self.positions.weight[: ids.shape[1]] + self.segments.weight[0])
        for block in self.blocks:
            x = block(x)
        return x


class GPT(nn.Module):
    def __init__(self, V: int, T: int, L: int, H: int, C: int) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(V, C), nn.Embedding(T, C)
        self.blocks = nn.ModuleList([DecoderBlock(C, H, 4 * C) for _ in range(L)])
        self.norm = nn.LayerNorm(C)
        self.head: nn.Module | None = None

    def head_apart(self) -> None:
        """The table's rows once more, as a dense layer without bias, which is what can be quantized."""
        self.head = nn.utils.skip_init(nn.Linear, self.words.embedding_dim, self.words.num_embeddings, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids: torch.Tensor, kept: list[torch.Tensor], at: int) -> torch.Tensor:
        """The logits behind the last id."""
        x = self.words(ids) + self.positions.weight[at : at + ids.shape[1]]
        for block, cache in zip(self.blocks, kept, strict=True):
            x = block(x, cache, at)
        x = self.norm(x[:, -1])
        return self.head(x) if self.head else x @ self.words.weight.T


def made(kind: type[nn.Module], *sizes: int) -> nn.Module:
    """A network with random weights, to be used only."""
    torch.manual_seed(0)
    model = kind(*sizes).eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
        if parameter.dim() > 1:
            nn.init.normal_(parameter, 0, 0.02)
    return model
