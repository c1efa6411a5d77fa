"""Iterative patch selection, as published: all patches materialised, embeddings kept, every set re-scored; and, so that the
gain of an algorithm is told from that of kernels, as this crate does it: logits alone are kept, and all patches encoded at once."""

from collections.abc import Callable

import torch
from torch.nn import functional as F

import inputs
from case import Case, Forms, Staged, Turns
from encoder_cases import FLOPS, in_layout, networks
from inputs import dense_image, fill, permutation, sparse_image
from network import CrossAttention, patchify, positional_encoding
from sizes import Sizes

PATCH = 50
WIDTH, HEADS, TOKENS = 128, 8, 4

Encode = Callable[[torch.Tensor], torch.Tensor]


class Selection:
    """What all forms share: the attention, the positions (1, n, d), and the permutation (n) that shuffles the patches.

    Images are (b, c, h, w) in [0, 1]; chunks are as large as what is kept.
    """

    def __init__(self, image: torch.Tensor, keep: int):
        self.keep = keep
        self.count = (image.shape[2] // PATCH) * (image.shape[3] // PATCH)
        self.order = torch.tensor(permutation(0, self.count), device=inputs.DEVICE)
        positions = positional_encoding(self.count, WIDTH).to(inputs.DEVICE, inputs.DTYPE)
        self.positions = positions[:, self.order]
        self.attention = fill(CrossAttention(TOKENS, WIDTH, HEADS), "transf.crs_attn.").eval()

    def shuffled(self, image: torch.Tensor) -> torch.Tensor:
        """patches in the order in which they are seen, (b, n, c, p, p)"""
        return patchify(image, PATCH, PATCH)[:, self.order]

    def published(self, image: torch.Tensor, encode: Encode) -> tuple[torch.Tensor, torch.Tensor]:
        """Survivor patches (b, m, c, p, p) and their places in the unshuffled images (b, m), best first."""
        patches, keep = self.shuffled(image), self.keep
        images = patches.shape[0]

        def embed(part: torch.Tensor) -> torch.Tensor:
            return encode(part.flatten(0, 1)).view(images, part.shape[1], WIDTH)

        kept = embed(patches[:, :keep])
        every = torch.arange(self.count, device=image.device).expand(images, -1)
        places = every[:, :keep]
        for start in range(keep, self.count, keep):
            kept = torch.cat((kept, embed(patches[:, start : start + keep])), dim=1)
            places = torch.cat((places, every[:, start : start + keep]), dim=1)
            positions = self.positions.expand(images, -1, -1)
            keyed = kept + torch.gather(positions, 1, places[..., None].expand(-1, -1, WIDTH))
            best = torch.topk(self.attention.scores(keyed), keep, dim=-1).indices
            kept = torch.gather(kept, 1, best[..., None].expand(-1, -1, WIDTH))
            places = torch.gather(places, 1, best)
        survivors = torch.gather(patches, 1, places[..., None, None, None].expand(-1, -1, *patches.shape[2:]))
        return survivors, self.order[places]

    def from_logits(self, embeddings: torch.Tensor) -> torch.Tensor:
        """The same places (b, m) from the embeddings (b, n, d) of all patches, with nothing but logits kept between chunks."""
        logits = torch.matmul(embeddings + self.positions, self.attention.folded_queries().t())
        kept = logits[:, : self.keep]
        places = torch.arange(self.count, device=logits.device).expand(logits.shape[0], -1)
        every, places = places, places[:, : self.keep]
        for start in range(self.keep, self.count, self.keep):
            kept = torch.cat((kept, logits[:, start : start + self.keep]), dim=1)
            places = torch.cat((places, every[:, start : start + self.keep]), dim=1)
            best = torch.topk(F.softmax(kept, dim=1).mean(dim=2), self.keep, dim=1).indices
            kept = torch.gather(kept, 1, best[..., None].expand(-1, -1, kept.shape[2]))
            places = torch.gather(places, 1, best)
        return self.order[places]

    def expert(self, image: torch.Tensor, encode: Encode) -> torch.Tensor:
        """all patches encoded at once"""
        patches = self.shuffled(image)
        return self.from_logits(encode(patches.flatten(0, 1)).view(*patches.shape[:2], WIDTH))

    def skipping(self, image: torch.Tensor, encode: Encode) -> torch.Tensor:
        """the same with one of all constant patches of a value encoded; how many are not constant, the host has to know"""
        patches = self.shuffled(image)
        flat = patches.flatten(0, 1)
        constant = (flat == flat[:, :1, :1, :1]).flatten(1).all(1)
        others = (~constant).nonzero()[:, 0]
        values, which = torch.unique(flat[constant][:, 0, 0, 0], return_inverse=True)
        blank = values[:, None, None, None].expand(-1, *flat.shape[1:])
        encoded = encode(torch.cat((flat[others], blank))).flatten(1)
        embeddings = torch.empty(flat.shape[0], WIDTH, device=flat.device, dtype=encoded.dtype)
        embeddings[others] = encoded[: len(others)]
        embeddings[constant] = encoded[len(others) :][which]
        return self.from_logits(embeddings.view(*patches.shape[:2], WIDTH))


def on_the_cpu(image: torch.Tensor, keep: int) -> Forms:
    """the encoder's forms inside the published loop; the image is already f32, and its conversion not timed"""
    selection, ready = Selection(image, keep), image.float() / 255

    def form(name: str, network: Encode):
        # The places chosen are what the sums compare: patches would hide a wrong choice among blank ones.
        return lambda: selection.published(ready, lambda x: network(in_layout(name, x)))[1]

    blank = torch.zeros(keep, 1, PATCH, PATCH)
    return {name: form(name, network) for name, network in networks(blank).items()}


def on_a_gpu(batches: list[torch.Tensor], keep: int, skip: bool = False) -> Forms:
    """the same, of batches of u8 images (b, 1, h, w) in the host's memory in turn; the places go back to it"""
    selection, dtype = Selection(batches[0], keep), inputs.DTYPE
    held = torch.empty_like(batches[0], device=inputs.DEVICE)
    if inputs.DEVICE.type == "cuda":
        batches = [batch.pin_memory() for batch in batches]
    names = networks(torch.zeros(keep, 1, PATCH, PATCH, device=inputs.DEVICE, dtype=dtype))

    def form(name: str, how: Callable[[torch.Tensor, Encode], torch.Tensor]):
        load = Turns(lambda batch: held.copy_(batch, non_blocking=True), batches)

        def compute(images: torch.Tensor) -> torch.Tensor:
            return how(images.to(dtype) / 255, lambda x: names[name](in_layout(name, x)))

        return Staged(load, compute, lambda places: places.cpu())

    last = next(reversed(names))
    forms = {name: form(name, lambda image, encode: selection.published(image, encode)[1]) for name in names}
    forms[f"torch-expert-{last.removeprefix('torch-')}"] = form(last, selection.expert)
    if skip:
        forms[f"torch-expert-skipping-{last.removeprefix('torch-')}"] = form(last, selection.skipping)
    return forms


def cases(sizes: Sizes) -> dict[str, Case]:
    """an image of random pixels and one that is nearly empty"""
    side, keep = sizes.image, sizes.keep
    count = (side // PATCH) ** 2
    about = f"{count} patches of 50x50 from 1x1x{side}x{side}, keep {keep}, chunks of {keep}, 4 tokens, 8 heads"

    def forms(image: torch.Tensor) -> Forms:
        return on_a_gpu([image], keep) if inputs.on_gpu() else on_the_cpu(image, keep)

    dense, sparse = f"{about}; random pixels", f"{about}; 55 squares of 28x28 on black"
    return {
        "selection/dense": Case(dense, lambda t: forms(dense_image(side)), count * FLOPS, products=True),
        "selection/sparse": Case(sparse, lambda t: forms(sparse_image(side)), count * FLOPS, products=True),
    }


def batches(sizes: Sizes) -> dict[str, Case]:
    """batches of images in turn, more than a cache holds; the one-process comparison has them"""
    made = {}
    for count, side, sets in sizes.batches:
        for kind, image in (("dense", dense_image), ("sparse", sparse_image), ("sparse-skipping", sparse_image)):

            def build(_, count=count, side=side, sets=sets, kind=kind, image=image) -> Forms:
                parts = [torch.cat([image(side, s * count + at) for at in range(count)]) for s in range(sets)]
                return on_a_gpu(parts, sizes.keep, kind == "sparse-skipping")

            made[f"selection/{kind}-{count}x{side}"] = Case(f"{count} images of {side}x{side}", build, products=True)
    return made
