//! How large the cases are. On the CPU a call takes milliseconds; through wgpu they are smaller, because the adapter may be
//! a software driver; on CUDA they fill a GPU; `SMOKE` shows that every case runs, on the emulator in seconds.
//! `peers/sizes.py` has the same numbers.

/// The sizes that differ between devices; those in the names of cases do not.
pub(crate) struct Sizes {
    /// Patches of 1×50×50, and images of the layers that follow from them.
    pub(crate) patches: usize,
    /// Patches of 3×100×100.
    pub(crate) large_patches: usize,
    /// Height and width of the image of a selection.
    pub(crate) image: usize,
    /// Patches that a selection keeps, and sees at once.
    pub(crate) keep: usize,
    /// Height and width of the image that is cut into patches.
    pub(crate) cut: usize,
    /// Images, and keys of each, that queries attend to.
    pub(crate) attention: [usize; 2],
    /// How many images of which side, and how many such batches: together more than any cache holds.
    pub(crate) batches: &'static [(usize, usize, usize)],
    /// Rows and columns of logits that are drawn from.
    pub(crate) draws: &'static [[usize; 2]],
    /// The same where a hundred are drawn.
    pub(crate) large_draw: &'static [[usize; 2]],
}

pub(crate) const CPU: Sizes = Sizes {
    patches: 100,
    large_patches: 32,
    image: 1500,
    keep: 100,
    cut: 3000,
    attention: [16, 200],
    batches: &[],
    draws: &[[16, 32_400]],
    large_draw: &[],
};

pub(crate) const WGPU: Sizes = Sizes { patches: 20, cut: 1500, attention: [1, 100], ..CPU };

pub(crate) const CUDA: Sizes = Sizes {
    patches: 1600,
    large_patches: 512,
    batches: &[(16, 1500, 7), (16, 3000, 2), (1, 3000, 27)],
    draws: &[[16, 32_400], [1, 1_000_000]],
    large_draw: &[[1, 1_000_000]],
    ..CPU
};

pub(crate) const SMOKE: Sizes = Sizes {
    patches: 2,
    large_patches: 1,
    image: 100,
    keep: 2,
    cut: 200,
    attention: [1, 20],
    batches: &[(2, 100, 2)],
    draws: &[[1, 32_400]],
    large_draw: &[[1, 32_400]],
};
