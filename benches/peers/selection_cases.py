"""Iterative patch selection of one image, as published: all patches materialised, embeddings kept, every set re-scored."""

from collections.abc import Callable

import torch

import inputs
from case import Case, Forms
from encoder_cases import FLOPS, in_layout, networks
from inputs import dense_image, fill, permutation, sparse_image
from network import CrossAttention, patchify, positional_encoding
from sizes import Sizes

PATCH = 50
WIDTH, HEADS, TOKENS = 128, 8, 4


def select(
    image: torch.Tensor,
    encode: Callable[[torch.Tensor], torch.Tensor],
    attention: CrossAttention,
    positions: torch.Tensor,
    order: torch.Tensor,
    keep: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Survivor patches (1, m, c, p, p) and their places in the unshuffled image (1, m), best first.

    image (1, c, h, w) f32; positions (1, n, d); order (n) is the permutation that shuffling applies to the patches; chunks are
    as large as what is kept.
    """
    patches = patchify(image, PATCH, PATCH)[:, order]
    positions = positions[:, order]
    count = patches.shape[1]

    def embed(part: torch.Tensor) -> torch.Tensor:
        return encode(part.flatten(0, 1)).view(1, part.shape[1], WIDTH)

    kept = embed(patches[:, :keep])
    every = torch.arange(count, device=image.device)[None]
    places = every[:, :keep]
    for start in range(keep, count, keep):
        chunk = patches[:, start : start + keep]
        kept = torch.cat((kept, embed(chunk)), dim=1)
        places = torch.cat((places, every[:, start : start + keep]), dim=1)
        keyed = kept + torch.gather(positions, 1, places[..., None].expand(-1, -1, WIDTH))
        best = torch.topk(attention.scores(keyed), keep, dim=-1).indices
        kept = torch.gather(kept, 1, best[..., None].expand(-1, -1, WIDTH))
        places = torch.gather(places, 1, best)
    return patches[:, places[0]], order[places]


def forms(image: torch.Tensor, keep: int) -> Forms:
    """the encoder's forms inside the same loop; on the CPU the image is already f32, and its conversion not timed; a GPU
    gets it as bytes from the host, and gives the places back to it"""
    count = (image.shape[2] // PATCH) * (image.shape[3] // PATCH)
    positions = positional_encoding(count, WIDTH).to(inputs.DEVICE)
    order = torch.tensor(permutation(0, count), device=inputs.DEVICE)
    attention = fill(CrossAttention(TOKENS, WIDTH, HEADS), "transf.crs_attn.").eval()
    ready = image.float() / 255

    def pixels() -> torch.Tensor:
        return image.to(inputs.DEVICE).float() / 255 if inputs.on_gpu() else ready

    def form(name: str, network: Callable[[torch.Tensor], torch.Tensor]):
        def encode(x: torch.Tensor) -> torch.Tensor:
            return network(in_layout(name, x))

        # The places chosen are what the sums compare: patches would hide a wrong choice among blank ones.
        return lambda: select(pixels(), encode, attention, positions, order, keep)[1].cpu()

    blank = torch.zeros(keep, 1, PATCH, PATCH, device=inputs.DEVICE)
    return {name: form(name, network) for name, network in networks(blank).items()}


def cases(sizes: Sizes) -> dict[str, Case]:
    """an image of random pixels and one that is nearly empty"""
    side, keep = sizes.image, sizes.keep
    count = (side // PATCH) ** 2
    flops = count * FLOPS
    about = f"{count} patches of 50x50 from 1x1x{side}x{side}, keep {keep}, chunks of {keep}, 4 tokens, 8 heads"
    return {
        "selection/dense": Case(
            f"{about}; random pixels", lambda threads: forms(dense_image(side), keep), flops, products=True
        ),
        "selection/sparse": Case(
            f"{about}; 55 squares of 28x28 on black",
            lambda threads: forms(sparse_image(side), keep),
            flops,
            products=True,
        ),
    }
