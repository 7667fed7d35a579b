"""What is believed of where things are, look after look."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.belief import HAND, ROUGHLY, THING, USUAL_M, Belief, Sight, believe, memory_size, sizes
from policies.deploy.bundle import MEMORY
from policies.encoders import GLANCE, RgbEncoder
from policies.features import STATE, image_key
from policies.hand import SHAPE, Hand
from policies.windows import POSE, TICK, Windows
from simulation.calibration import CALIBRATION
from simulation.privileged import BOX, COLUMN

USUAL = torch.tensor([[0.5, 0.0, 0.02]])
NOWHERE = torch.zeros(1, memory_size(1))
OPEN, CLOSED = torch.tensor([1.0]), torch.tensor([0.3])


def _hand(*position: float) -> Hand:
    return Hand(torch.tensor([position]), torch.eye(3)[None])


AWAY = _hand(0.3, 0.3, 0.4)


def _sight(*middle: float, sigma: float = 0.01) -> Sight:
    return Sight(torch.tensor([[middle]]), torch.eye(3)[None, None] / sigma**2, torch.full((1, 1, SHAPE), 0.05))


def _off(belief: Belief, *truth: float) -> float:
    return float((belief.middle[0, 0] - torch.tensor(truth)).norm())


def test_the_first_look_is_believed() -> None:
    found = believe(_sight(0.4, 0.1, 0.05), NOWHERE, AWAY, OPEN, USUAL)
    assert _off(found, 0.4, 0.1, 0.05) < 0.001
    nothing = believe(_sight(0.4, 0.1, 0.05, sigma=100.0), NOWHERE, AWAY, OPEN, USUAL)
    assert _off(nothing, *USUAL[0].tolist()) < 0.001
    assert abs(float(nothing.spread[0, 0, 0, 0]) ** 0.5 - USUAL_M) < 0.01


def test_only_a_covariances_inverse_is_compared_by_its_largest_entry() -> None:
    sight = Sight(
        torch.tensor([[[0.4, 0.1, 0.05], [0.6, 0.1, 0.05]]]),
        torch.eye(3) * torch.tensor([1.0, 1e4])[None, :, None, None],
        torch.ones(1, 2, SHAPE),
    )
    memory = believe(sight, torch.zeros(1, memory_size(2)), AWAY, OPEN, USUAL.expand(2, 3)).memory
    large = sizes(memory)[0]
    known = [large[number * THING + 3 : number * THING + 12] for number in range(2)]
    assert 0.5 < known[0].unique().item() / ROUGHLY < 100.0
    assert 5e3 < known[1].unique().item() / ROUGHLY < 2e4
    assert (large == 1.0).sum() == 2 * (THING - 9) + HAND


def test_looks_that_agree_make_it_surer() -> None:
    one = believe(_sight(0.4, 0.1, 0.05), NOWHERE, AWAY, OPEN, USUAL)
    two = believe(_sight(0.41, 0.1, 0.05), one.memory, AWAY, OPEN, USUAL)
    assert 0.4 < two.middle[0, 0, 0] < 0.41
    assert two.spread[0, 0].trace() < one.spread[0, 0].trace()


def test_one_look_that_does_not_fit_is_not_believed_and_the_third_is() -> None:
    belief = believe(_sight(0.4, 0.1, 0.05), NOWHERE, AWAY, OPEN, USUAL)
    belief = believe(_sight(0.4, 0.1, 0.05), belief.memory, AWAY, OPEN, USUAL)
    off = []
    for _ in range(4):
        belief = believe(_sight(0.55, 0.1, 0.05, sigma=0.015), belief.memory, AWAY, OPEN, USUAL)
        off.append(_off(belief, 0.55, 0.1, 0.05))
    assert off[0] > 0.1
    assert off[2] < 0.03
    assert off == sorted(off, reverse=True)


def test_a_thing_in_the_hand_goes_along_though_nobody_sees_it_and_one_beside_an_open_hand_stays() -> None:
    for opening, near, end in (
        (CLOSED, 0.03, (0.3, 0.4, 0.25)),
        (OPEN, 0.03, (0.5, 0.0, 0.05)),
        (CLOSED, 0.3, (0.5, 0.0, 0.05)),
    ):
        hand = _hand(0.5, 0.0, 0.05 + near)
        belief = believe(_sight(0.5, 0.0, 0.05), NOWHERE, hand, opening, USUAL)
        # Seen badly, about where it now is: far from where it would be in the other case.
        then = _hand(0.3, 0.4, 0.25 + near)
        belief = believe(_sight(*end, sigma=0.1), belief.memory, then, opening, USUAL)
        assert _off(belief, *end) < 0.02
    # Where it is seen to have stayed behind, that is believed.
    belief = believe(_sight(0.5, 0.0, 0.05), NOWHERE, _hand(0.5, 0.0, 0.08), CLOSED, USUAL)
    belief = believe(_sight(0.5, 0.0, 0.05), belief.memory, _hand(0.3, 0.4, 0.28), CLOSED, USUAL)
    assert _off(belief, 0.5, 0.0, 0.05) < 0.005


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_whatever_is_seen_what_is_believed_has_a_size_and_a_place(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    memory, usual = torch.zeros(3, memory_size(2)), torch.randn(2, 3, generator=rng)
    for _ in range(6):
        root = torch.randn(3, 2, 3, 3, generator=rng) * 10 ** (3 * torch.rand(3, 2, 1, 1, generator=rng))
        sight = Sight(
            torch.randn(3, 2, 3, generator=rng),
            root @ root.mT + 0.1 * torch.eye(3),
            torch.randn(3, 2, SHAPE, generator=rng),
        )
        turn = torch.linalg.qr(torch.randn(3, 3, 3, generator=rng))[0]
        hand = Hand(torch.randn(3, 3, generator=rng), turn)
        belief = believe(sight, memory, hand, torch.rand(3, generator=rng), usual)
        assert torch.isfinite(belief.middle).all()
        assert torch.isfinite(belief.memory).all()
        assert (torch.linalg.eigvalsh(belief.spread.double()) > 0.0).all()
        memory = belief.memory


def test_episodes_are_made_out_as_an_actor_would_look_after_look() -> None:
    torch.manual_seed(0)
    encoder, every, lengths = RgbEncoder(3, 2 * BOX, 32), 3, (8, 5)
    count = sum(lengths)
    seen = {
        STATE: torch.randn(count, 2, 3),
        COLUMN: torch.randn(count, 2 * BOX),
        CALIBRATION: torch.randn(count, 22),
        TICK: torch.cat([torch.arange(length) for length in lengths]),
        **{image_key(name): torch.randint(0, 255, (count, 32, 32, 3), dtype=torch.uint8) for name in encoder.cameras},
    }
    windows = Windows(seen, torch.zeros(count, 2, POSE), torch.zeros(count, 0, POSE + 2 * BOX))
    encoder.eval()
    glance = encoder.seen_once(windows, every).seen[GLANCE]
    for first, length in zip((0, lengths[0]), lengths, strict=True):
        for phase in range(every):
            memory = torch.zeros(1, encoder.remembers())
            for row in range(first + phase, first + length, every):
                told = {name: values[row : row + 1] for name, values in seen.items()}
                with torch.inference_mode():
                    made_out, memory = encoder.made_out({**told, MEMORY: memory})
                assert torch.allclose(made_out[GLANCE], glance[row : row + 1], atol=1e-3)
    some = encoder.seen_once(windows.each(every), every)
    assert torch.allclose(some.seen[GLANCE], glance[seen[TICK] % every == 0], atol=1e-3)
