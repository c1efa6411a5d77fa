"""How large the cases are, as in `../support/sizes.rs`: both sides of a comparison must compute the same."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Sizes:
    """the sizes that differ between devices; those in the names of cases do not"""

    patches: int  # patches of 1x50x50, and images of the layers that follow from them
    large_patches: int  # patches of 3x100x100
    image: int  # height and width of the image of a selection
    keep: int  # patches that a selection keeps, and sees at once
    cut: int  # height and width of the image that is cut into patches
    attention: tuple[int, int]  # images, and keys of each, that queries attend to
    draws: tuple[tuple[int, int], ...]  # rows and columns of logits that are drawn from
    large_draw: tuple[tuple[int, int], ...] = ()  # the same where a hundred are drawn
    batches: tuple[tuple[int, int, int], ...] = ()  # how many images of which side, and how many such batches


CPU = Sizes(100, 32, 1500, 100, 3000, (16, 200), ((16, 32400),))
CUDA = replace(
    CPU,
    patches=1600,
    large_patches=512,
    draws=((16, 32400), (1, 1000000)),
    large_draw=((1, 1000000),),
    batches=((16, 1500, 7), (16, 3000, 2), (1, 3000, 27)),
)
SMOKE = Sizes(2, 1, 100, 2, 200, (1, 20), ((1, 32400),), ((1, 32400),), ((2, 100, 2),))

NAMED = {"cpu": CPU, "cuda": CUDA, "smoke": SMOKE}
