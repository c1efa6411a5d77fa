"""Iterative patch selection of one image, as published: all patches materialised, embeddings kept, every set re-scored."""

from collections.abc import Callable

import torch

from case import Case, Forms, channels_last, optimised
from encoder_cases import FLOPS
from inputs import dense_image, fill, permutation, sparse_image
from network import CrossAttention, encoder, patchify, positional_encoding

SIDE, PATCH = 1500, 50
MEMORY = CHUNK = 100
WIDTH, HEADS, TOKENS = 128, 8, 4


def select(
    image: torch.Tensor,
    encode: Callable[[torch.Tensor], torch.Tensor],
    attention: CrossAttention,
    positions: torch.Tensor,
    order: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Survivor patches (1, m, c, p, p) and their places in the unshuffled image (1, m), best first.

    image (1, c, h, w) f32; positions (1, n, d); order (n) is the permutation that shuffling applies to the patches.
    """
    patches = patchify(image, PATCH, PATCH)[:, order]
    positions = positions[:, order]
    count = patches.shape[1]

    def embed(part: torch.Tensor) -> torch.Tensor:
        return encode(part.flatten(0, 1)).view(1, part.shape[1], WIDTH)

    kept = embed(patches[:, :MEMORY])
    places = torch.arange(MEMORY)[None]
    for start in range(MEMORY, count, CHUNK):
        chunk = patches[:, start : start + CHUNK]
        kept = torch.cat((kept, embed(chunk)), dim=1)
        places = torch.cat((places, torch.arange(start, start + chunk.shape[1])[None]), dim=1)
        keyed = kept + torch.gather(positions, 1, places[..., None].expand(-1, -1, WIDTH))
        best = torch.topk(attention.scores(keyed), MEMORY, dim=-1).indices
        kept = torch.gather(kept, 1, best[..., None].expand(-1, -1, WIDTH))
        places = torch.gather(places, 1, best)
    return patches[:, places[0]], order[places]


def forms(image: torch.Tensor) -> Forms:
    """the encoder's forms inside the same loop; the image is already f32, its conversion is not timed"""
    pixels = image.float() / 255
    count = (SIDE // PATCH) ** 2
    positions = positional_encoding(count, WIDTH)
    order = torch.tensor(permutation(0, count))
    attention = fill(CrossAttention(TOKENS, WIDTH, HEADS), "transf.crs_attn.").eval()
    plain = fill(encoder(), "encoder.").eval()
    last = fill(encoder(), "encoder.").eval().to(memory_format=torch.channels_last)
    packed = optimised(plain, torch.zeros(CHUNK, 1, PATCH, PATCH))
    packed_last = optimised(last, channels_last(torch.zeros(CHUNK, 1, PATCH, PATCH)))

    def form(encode: Callable[[torch.Tensor], torch.Tensor]):
        # The places chosen are what the sums compare: patches would hide a wrong choice among blank ones.
        return lambda: select(pixels, encode, attention, positions, order)[1]

    return {
        "torch-eager": form(plain),
        "torch-channels-last": form(lambda x: last(channels_last(x))),
        "torch-jit": form(packed),
        "torch-jit-channels-last": form(lambda x: packed_last(channels_last(x))),
    }


def cases() -> dict[str, Case]:
    """an image of random pixels and one that is nearly empty"""
    flops = (SIDE // PATCH) ** 2 * FLOPS
    about = "900 patches of 50x50 from 1x1x1500x1500, keep 100, chunks of 100, 4 tokens, 8 heads"
    return {
        "selection/dense": Case(f"{about}; random pixels", lambda threads: forms(dense_image(SIDE)), flops),
        "selection/sparse": Case(f"{about}; 55 squares of 28x28 on black", lambda threads: forms(sparse_image(SIDE)), flops),
    }
