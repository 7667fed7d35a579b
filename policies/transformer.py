"""What the policies' networks are built of: attention, and the layers of a transformer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al., 2017)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.pair, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, others: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens ``(B, N, D)`` look at ``(B, M, D)``; `mask` ``(N, M)`` is true where they may."""
        key, value = self.pair(others).chunk(2, dim=-1)
        split = [part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query(x), key, value)]
        # Written out: for so few tokens torch's own attention is slower on a CPU.
        q, k, v = split
        weight = (q * (q.shape[-1] ** -0.5)) @ k.mT
        if mask is not None:
            weight = weight.masked_fill(~mask, float("-inf"))
        mixed: Tensor = self.out((weight.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))
        return mixed


class Layer(nn.Module):
    """Attention among tokens, to a context in a decoder, and a perceptron; each from a normalised copy.

    In a decoder of a flow, the point of the flow scales and shifts those copies (Peebles & Xie, "Scalable Diffusion
    Models with Transformers", 2023).
    """

    def __init__(self, width: int, heads: int, *, decoder: bool = False, flow: bool = False) -> None:
        super().__init__()
        parts = 3 if decoder else 2
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=not flow) for _ in range(parts))
        self.among = Attention(width, heads)
        self.to_context = Attention(width, heads) if decoder else None
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.modulation = nn.Linear(width, 3 * parts * width) if flow else None
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def forward(
        self, x: Tensor, context: Tensor | None = None, point: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Tokens ``(B, N, D)``, changed; a decoder takes `context` ``(B, M, D)``, one of a flow `point` ``(B, D)``."""
        steps: list[Callable[[Tensor], Tensor]] = [lambda y: self.among(y, y, mask), self.perceptron]
        if self.to_context is not None:
            look = self.to_context
            steps.insert(1, lambda y: look(y, y if context is None else context))
        rows: Sequence[Tensor] = ()
        if self.modulation is not None and point is not None:
            rows = self.modulation(point)[:, None].chunk(3 * len(steps), dim=-1)
        for number, (norm, step) in enumerate(zip(self.norms, steps, strict=True)):
            if rows:
                scale, shift, gate = rows[3 * number : 3 * number + 3]
                x = x + step(norm(x) * (1 + scale) + shift) * (1 + gate)
            else:
                x = x + step(norm(x))
        return x
