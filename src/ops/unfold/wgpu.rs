//! Launches of unfold and fold. Both run over consecutive elements of their result, so work that is larger than a
//! binding is cut into runs of patches or of pixel lines, and, where one image is larger than a binding, by channel.

use super::{Fold, Unfold};
use crate::{
    DType,
    error::Result,
    wgpu::{Cx, In, Out},
};
use std::ops::Range;

const THREADS: u32 = 64;
/// Elements (or words of four bytes) that one thread of unfold moves.
const STEPS: u32 = 16;

mod unfold_kernels {
    crate::wgpu_params! {
        pub(super) struct UnfoldParams {
            x_first: u32, y_first: u32, count: u32, first_patch: u32, channel_first: u32, channel_end: u32,
            channels: u32, height: u32, width: u32, rows: u32, cols: u32, patch_height: u32, patch_width: u32,
            stride_height: u32, stride_width: u32,
            step_image: u32, step_row: u32, step_col: u32, step_channel: u32, step_i: u32, step_j: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "unfold", texts: ["common/grid", "unfold/unfold"], params: UnfoldParams, tuning: [THREADS, STEPS],
        F32 = "unfold_f32", tried with [[64, 16]];
        U8 = "unfold_u8", tried with [[64, 16]];
    }
}

mod pairs {
    crate::wgpu_kernel! {
        op: "unfold", texts: ["common/grid", "unfold/unfold", "unfold/pairs"],
        params: super::unfold_kernels::UnfoldParams, tuning: [THREADS, STEPS],
        F32 = "unfold_f32_pairs", tried with [[64, 16]];
    }
}

mod fold_kernels {
    crate::wgpu_params! {
        pub(super) struct FoldParams {
            y_first: u32, x_first: u32, count: u32, first_pixel: u32, channels: u32, height: u32, width: u32,
            rows: u32, cols: u32, patch_height: u32, patch_width: u32, stride_height: u32, stride_width: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "fold", texts: ["common/grid", "unfold/fold"], params: FoldParams, tuning: [THREADS],
        F32 = "fold_f32", tried with [[64]];
    }
}

/// Sizes of one run, shared by both directions.
struct Sizes {
    batch: usize,
    channels: usize,
    image: [usize; 2],
    patch: [usize; 2],
    stride: [usize; 2],
    /// Rows and columns of patches.
    counts: [usize; 2],
}

impl Sizes {
    /// From the shapes (B, C, H, W) and (B, N, C, ph, pw).
    fn new(image: &[usize], patches: &[usize], stride: [usize; 2]) -> Self {
        let (batch, channels, image) = (image[0], image[1], [image[2], image[3]]);
        let patch = [patches[3], patches[4]];
        let counts = [0, 1].map(|a| (image[a] - patch[a]) / stride[a] + 1);
        Sizes { batch, channels, image, patch, stride, counts }
    }

    fn patches(&self) -> usize {
        self.counts[0] * self.counts[1]
    }

    /// Elements of one patch.
    fn patch(&self) -> usize {
        self.channels * self.patch[0] * self.patch[1]
    }

    /// Image, row and column of the patch, channel, row and column in the patch of an element of (B, N, C, ph, pw).
    fn place(&self, element: usize) -> [u32; 6] {
        let sizes = [usize::MAX, self.counts[0], self.counts[1], self.channels, self.patch[0], self.patch[1]];
        let mut rest = element;
        let mut place = [0; 6];
        for (digit, size) in place.iter_mut().zip(sizes).rev() {
            *digit = (rest % size) as u32;
            rest /= size;
        }
        place
    }

    /// Whether elements two by two are neighbours in x and in y, and begin at even places.
    fn in_pairs(&self) -> bool {
        [self.image[1], self.patch[1], self.stride[1]].iter().all(|size| size % 2 == 0)
    }

    /// Pixels of one image, over all channels.
    fn pixels(&self) -> usize {
        self.channels * self.image[0] * self.image[1]
    }
}

/// What one launch of unfold does. Several images go together only with all their patches and channels.
#[derive(Clone)]
struct Work {
    images: Range<usize>,
    patches: Range<usize>,
    channels: Range<usize>,
}

impl Work {
    /// Elements of x between the first and the last one read.
    fn source(&self, s: &Sizes) -> Range<usize> {
        let line = |image: usize, channel: usize, row: usize| {
            ((image * s.channels + channel) * s.image[0] + row) * s.image[1]
        };
        let top = |patch: usize| patch / s.counts[1] * s.stride[0];
        let bottom = top(self.patches.end - 1) + s.patch[0];
        line(self.images.start, self.channels.start, top(self.patches.start))
            ..line(self.images.end - 1, self.channels.end - 1, bottom)
    }

    /// Elements of y, of all channels.
    fn target(&self, s: &Sizes) -> Range<usize> {
        let patch = |image: usize, patch: usize| (image * s.patches() + patch) * s.patch();
        patch(self.images.start, self.patches.start)..patch(self.images.end - 1, self.patches.end)
    }

    fn launch(&self, s: &Sizes, cx: &Cx, x: &In, y: &Out) -> Result<()> {
        let (source, target) = (self.source(s), self.target(s));
        let count = target.len();
        let before = source.start - self.images.start * s.pixels();
        let (from, to) = (cx.bind_range(x, source)?, cx.bind_range(y, target)?);
        let x_first = from.first.wrapping_sub(before as u32);
        let whole = self.channels == (0..s.channels);
        let (kernel, items, ahead) = match x.dtype {
            DType::U8 => (&unfold_kernels::U8, (to.first as usize % 4 + count).div_ceil(4), 4 * THREADS - 4),
            _ if cx.device().has_int64()
                && whole
                && s.in_pairs()
                && x_first % 2 == 0
                && to.first % 4 == 0
                && count % 4 == 0 =>
            {
                (&pairs::F32, count / 4, 4 * THREADS - 2)
            }
            _ => (&unfold_kernels::F32, count, THREADS),
        };
        let step = s.place(ahead as usize);
        let params = unfold_kernels::UnfoldParams {
            x_first,
            y_first: to.first,
            count: count as u32,
            first_patch: self.patches.start as u32,
            channel_first: self.channels.start as u32,
            channel_end: self.channels.end as u32,
            channels: s.channels as u32,
            height: s.image[0] as u32,
            width: s.image[1] as u32,
            rows: s.counts[0] as u32,
            cols: s.counts[1] as u32,
            patch_height: s.patch[0] as u32,
            patch_width: s.patch[1] as u32,
            stride_height: s.stride[0] as u32,
            stride_width: s.stride[1] as u32,
            step_image: step[0],
            step_row: step[1],
            step_col: step[2],
            step_channel: step[3],
            step_i: step[4],
            step_j: step[5],
        };
        let run = (THREADS * STEPS) as usize;
        cx.launch(kernel, &[THREADS, STEPS], &params, &[from, to], cx.groups(items.div_ceil(run))?)
    }
}

impl Unfold {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (x, y) = (&ins[0], &outs[0]);
        let s = Sizes::new(&x.dims, &y.dims, self.stride);
        if y.dims.elements() == 0 {
            return Ok(());
        }
        let all = Work { images: 0..s.batch, patches: 0..s.patches(), channels: 0..s.channels };
        let needs = |work: &Work| [(*x, work.source(&s)), (*y, work.target(&s))];
        if cx.fit(&needs(&all)) {
            return all.launch(&s, cx, x, y);
        }
        for b in 0..s.batch {
            let image = Work { images: b..b + 1, ..all.clone() };
            let of = |patches: &Range<usize>| Work { patches: patches.clone(), ..image.clone() };
            if let Ok(runs) = cx.cut(s.patches(), |run| needs(&of(run))) {
                runs.iter().try_for_each(|run| of(run).launch(&s, cx, x, y))?;
                continue;
            }
            for c in 0..s.channels {
                let of = |patches: &Range<usize>| Work { channels: c..c + 1, ..of(patches) };
                let runs = cx.cut(s.patches(), |run| needs(&of(run)))?;
                runs.iter().try_for_each(|run| of(run).launch(&s, cx, x, y))?;
            }
        }
        Ok(())
    }
}

impl Fold {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (y, x) = (&ins[0], &outs[0]);
        let s = Sizes::new(&x.dims, &y.dims, self.stride);
        if x.dims.elements() == 0 {
            return Ok(());
        }
        // Lines of pixels, over all images and channels; the patches read are those of all channels.
        let lines = s.batch * s.channels * s.image[0];
        let needs = |run: &Range<usize>| {
            [(*y, covering(&s, run)), (*x, run.start * s.image[1]..run.end * s.image[1])]
        };
        for run in cx.cut(lines, needs)? {
            let [(_, source), (_, target)] = needs(&run);
            let image = run.start / (s.channels * s.image[0]);
            let before = source.start.wrapping_sub(image * s.patches() * s.patch());
            let count = target.len();
            let first_pixel = target.start - image * s.pixels();
            let (from, to) = (cx.bind_range(y, source)?, cx.bind_range(x, target)?);
            let params = fold_kernels::FoldParams {
                y_first: from.first.wrapping_sub(before as u32),
                x_first: to.first,
                count: count as u32,
                first_pixel: first_pixel as u32,
                channels: s.channels as u32,
                height: s.image[0] as u32,
                width: s.image[1] as u32,
                rows: s.counts[0] as u32,
                cols: s.counts[1] as u32,
                patch_height: s.patch[0] as u32,
                patch_width: s.patch[1] as u32,
                stride_height: s.stride[0] as u32,
                stride_width: s.stride[1] as u32,
            };
            let groups = cx.groups(count.div_ceil(THREADS as usize))?;
            cx.launch(&fold_kernels::F32, &[THREADS], &params, &[from, to], groups)?;
        }
        Ok(())
    }
}

/// The elements of the patches that cover a run of pixel lines, and of those between them.
fn covering(s: &Sizes, lines: &Range<usize>) -> Range<usize> {
    let patch_row = |image: usize, row: usize| (image * s.counts[0] + row) * s.counts[1] * s.patch();
    let [first, last] = [lines.start, lines.end - 1].map(|line| {
        let (image, row) = (line / (s.channels * s.image[0]), line % s.image[0]);
        let above = (row + s.stride[0]).saturating_sub(s.patch[0]) / s.stride[0];
        (image, above.min(s.counts[0]), (row / s.stride[0] + 1).min(s.counts[0]))
    });
    let (start, end) = if first.0 == last.0 && lines.len() <= s.image[0] && first.1 <= last.1 {
        (patch_row(first.0, first.1), patch_row(last.0, last.2))
    } else {
        (patch_row(first.0, 0), patch_row(last.0 + 1, 0))
    };
    start..end.max(start)
}
