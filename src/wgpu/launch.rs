//! What a launch file works with: operands as views, slices of them as bindings, the grid, and the launch itself.
//!
//! A binding starts at a multiple of the device's alignment and is bounded by its largest binding; a view starts and
//! ends where it likes. So a view is bound as a [`Slice`]: an aligned window of the buffer, and the position of the
//! first element in it, which the kernel is told. Work that needs larger windows is [`cut`].

use super::{Access, Buffer, Kernel, Params, Tuning, Wgpu};
use crate::{
    DType, Dims,
    error::{Error, Result},
};
use smallvec::SmallVec;
use std::{ops::Range, sync::Arc};

/// A tensor's elements on the device, as an operation gets them.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Its shape.
    pub dims: Dims,
    /// Its element type.
    pub dtype: DType,
    /// The buffer that holds it.
    pub buffer: &'a Buffer,
    /// Its first element in the buffer.
    pub start: usize,
}

/// An operand, read only.
pub type In<'a> = View<'a>;
/// A result, to be written in full: its contents are unspecified before, except for operations that update in place.
pub type Out<'a> = View<'a>;

/// A window of a buffer, as a kernel's binding.
#[derive(Clone, Copy, Debug)]
pub struct Slice<'a> {
    pub(super) buffer: &'a Buffer,
    /// Bytes from the start of the buffer.
    pub(super) offset: u64,
    pub(super) bytes: u64,
    /// The first element wanted, counted in elements from the start of the window.
    pub first: u32,
}

/// Workgroups along the three axes of a grid.
pub type Groups = [u32; 3];

/// What one run of an operation has beside its operands.
pub struct Cx<'a> {
    op: &'static str,
    device: &'a Arc<Wgpu>,
    scratch: Option<Buffer>,
    /// Operands and results, against which the bindings of a launch are held.
    ins: &'a [In<'a>],
    outs: &'a [Out<'a>],
}

impl<'a> Cx<'a> {
    /// The context of one run of `op`, with as many bytes of scratch as it asked for.
    pub fn new(op: &'static str, device: &'a Arc<Wgpu>, scratch: usize) -> Result<Self> {
        let scratch = if scratch == 0 { None } else { Some(device.alloc(scratch, op)?) };
        Ok(Cx { op, device, scratch, ins: &[], outs: &[] })
    }

    /// The same context with the operation's operands, which a launch then refuses to write to, and its results.
    pub(super) fn of(self, ins: &'a [In<'a>], outs: &'a [Out<'a>]) -> Self {
        Cx { ins, outs, ..self }
    }

    /// The operation's name, for errors.
    pub fn op(&self) -> &'static str {
        self.op
    }

    /// The device.
    pub fn device(&self) -> &'a Arc<Wgpu> {
        self.device
    }

    /// The scratch asked for, as a view of 4-byte words.
    pub fn scratch(&self) -> Result<View<'_>> {
        let Some(buffer) = &self.scratch else {
            return Err(Error::argument(
                self.op,
                "the kernel uses scratch that the operation did not ask for",
            ));
        };
        Ok(View { dims: Dims::from([buffer.bytes() / 4]), dtype: DType::U32, buffer, start: 0 })
    }

    /// Memory for so many words, beside the scratch that the operation asked for: for kernels whose need depends on the
    /// device. It may be dropped as soon as the launches are recorded, since those of its next owner come after them.
    pub fn reserve(&self, words: usize) -> Result<Buffer> {
        self.device.alloc(words * 4, self.op)
    }

    /// A binding of a whole view.
    pub fn bind<'v>(&self, view: &View<'v>) -> Result<Slice<'v>> {
        self.bind_range(view, 0..view.dims.elements())
    }

    /// A binding of the elements `range` of a view.
    pub fn bind_range<'v>(&self, view: &View<'v>, range: Range<usize>) -> Result<Slice<'v>> {
        let (offset, end) = self.window(view, &range);
        if end - offset > self.binding_limit() {
            return Err(self.too_large_to_bind(end - offset));
        }
        if end > view.buffer.size() {
            let what = format!("elements {range:?} of a view of {} end outside their buffer", view.dims);
            return Err(Error::argument(self.op, what));
        }
        let size = view.dtype.size() as u64;
        let first = (view.start + range.start) as u64 - offset / size;
        Ok(Slice { buffer: view.buffer, offset, bytes: end - offset, first: first as u32 })
    }

    /// Whether each of these ranges of views fits in one binding.
    pub fn fit(&self, ranges: &[(View, Range<usize>)]) -> bool {
        self.largest(ranges) <= self.binding_limit()
    }

    /// Cuts `0..count` into runs of equal length (the last may be shorter), as few as will do for each range of views
    /// that a run needs to fit in one binding. An error if those of a single one do not.
    pub fn cut<'v, const N: usize>(
        &self,
        count: usize,
        needs: impl Fn(&Range<usize>) -> [(View<'v>, Range<usize>); N],
    ) -> Result<Runs> {
        let runs = cut(count, |run| self.fit(&needs(run)));
        runs.ok_or_else(|| self.too_large_to_bind(self.largest(&needs(&(0..1)))))
    }

    /// Calls `body` with the number of rows and bindings of tensors of one shape, for each run of rows, of `row` elements
    /// each, that fits in a binding.
    pub fn each_run<'v, const N: usize>(
        &self,
        tensors: [&View<'v>; N],
        row: usize,
        mut body: impl FnMut(usize, [Slice<'v>; N]) -> Result<()>,
    ) -> Result<()> {
        let Some(&first) = tensors.first() else { return Ok(()) };
        let rows = first.dims.elements().checked_div(row).unwrap_or(0);
        for run in self.cut(rows, |run| tensors.map(|tensor| (*tensor, times(run, row))))? {
            let mut slices = [self.bind_range(first, times(&run, row))?; N];
            for (slice, tensor) in slices.iter_mut().zip(tensors) {
                *slice = self.bind_range(tensor, times(&run, row))?;
            }
            body(run.len(), slices)?;
        }
        Ok(())
    }

    /// Bytes of the largest binding. Kernels count in `u32`, so it is never above 2 GiB.
    fn binding_limit(&self) -> u64 {
        self.device.limits().max_storage_buffer_binding_size.min(1 << 31)
    }

    fn largest(&self, ranges: &[(View, Range<usize>)]) -> u64 {
        let windows = ranges.iter().map(|(view, range)| self.window(view, range));
        windows.map(|(start, end)| end - start).max().unwrap_or(0)
    }

    /// First and last byte of the aligned window around a range; never empty, because a binding may not be.
    fn window(&self, view: &View, range: &Range<usize>) -> (u64, u64) {
        let size = view.dtype.size() as u64;
        let [start, end] = [range.start, range.end].map(|at| (view.start + at) as u64 * size);
        let alignment = u64::from(self.device.limits().min_storage_buffer_offset_alignment);
        let offset = if range.is_empty() { 0 } else { start - start % alignment };
        (offset, end.next_multiple_of(4).max(offset + 4))
    }

    /// The most workgroups along one axis of a grid.
    pub fn groups_per_axis(&self) -> usize {
        self.device.limits().max_compute_workgroups_per_dimension as usize
    }

    /// A grid of `count` workgroups. It is folded where the device allows no such number along one axis; a kernel
    /// finds its place with `group_index` of `common/grid.wgsl` and leaves if that is not below `count`.
    pub fn groups(&self, count: usize) -> Result<Groups> {
        let most = self.groups_per_axis();
        if count <= most {
            return Ok([count as u32, 1, 1]);
        }
        let rows = count.div_ceil(most);
        if rows > most || count > u32::MAX as usize {
            let have = (most as u64).saturating_pow(2).min(u32::MAX.into());
            return Err(self.too_large("max_compute_workgroups_per_dimension", have, count as u64));
        }
        Ok([count.div_ceil(rows) as u32, rows as u32, 1])
    }

    /// Records a launch of `kernel`. `slices` are its storage bindings in the order of their numbers. A grid with an
    /// empty axis launches nothing.
    pub fn launch<P: Params>(
        &self,
        kernel: &Kernel<P>,
        tuning: Tuning,
        params: &P,
        slices: &[Slice],
        groups: Groups,
    ) -> Result<()> {
        let device = self.device;
        device.check()?;
        let pipeline = device.pipelines().get(device, kernel, tuning)?;
        self.check_bindings(kernel.entry, &pipeline.facts().bindings, slices)?;
        let most = device.limits().max_compute_workgroups_per_dimension;
        if let Some(&need) = groups.iter().find(|&&n| n > most) {
            return Err(self.too_large("max_compute_workgroups_per_dimension", most.into(), need.into()));
        }
        if groups.contains(&0) {
            return Ok(());
        }
        let parameters = bytemuck::bytes_of(params);
        let mut recorder = device.recorder();
        recorder.launch((device.raw(), device.queue()), self.op, &pipeline, parameters, slices, groups);
        Ok(())
    }

    /// Holds the slices of a launch against the bindings of the kernel's text: as many, and operands only where the
    /// kernel reads.
    fn check_bindings(&self, entry: &str, bindings: &[(u32, Access)], slices: &[Slice]) -> Result<()> {
        if slices.len() != bindings.len() {
            let what = format!("{} slices for the {} bindings of {entry}", slices.len(), bindings.len());
            return Err(Error::argument(self.op, what));
        }
        let among =
            |views: &[View], slice: &Slice| views.iter().any(|v| std::ptr::eq(v.buffer, slice.buffer));
        for (slice, (binding, access)) in slices.iter().zip(bindings) {
            if *access == Access::Write && among(self.ins, slice) && !among(self.outs, slice) {
                let what = format!("{entry} writes binding {binding}, where an operand is bound");
                return Err(Error::argument(self.op, what));
            }
        }
        Ok(())
    }

    fn too_large_to_bind(&self, need: u64) -> Error {
        self.too_large("max_storage_buffer_binding_size", self.binding_limit(), need)
    }

    /// The error for work that no cut makes small enough.
    pub fn too_large(&self, limit: &'static str, have: u64, need: u64) -> Error {
        let what = "use smaller images or batches, or an adapter with a higher limit".to_owned();
        Error::Limit { op: self.op, limit, have, need, what }
    }
}

/// The elements of a run of rows of `row` elements.
pub fn times(run: &Range<usize>, row: usize) -> Range<usize> {
    run.start * row..run.end * row
}

/// Consecutive ranges that make up a whole.
pub type Runs = SmallVec<[Range<usize>; 1]>;

/// Cuts `0..count` into runs of equal length (the last may be shorter), as few as will do for each to satisfy `fits`.
/// `None` if even single ones do not.
fn cut(count: usize, fits: impl Fn(&Range<usize>) -> bool) -> Option<Runs> {
    let mut parts = 1;
    loop {
        let length = count.div_ceil(parts).max(1);
        let runs: Runs = (0..count).step_by(length).map(|start| start..(start + length).min(count)).collect();
        if runs.iter().all(&fits) {
            return Some(runs);
        }
        if length == 1 {
            return None;
        }
        parts *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_cut_until_it_fits() {
        let runs = |n, most: usize| cut(n, |r| r.len() <= most).map(|r| r.to_vec());
        assert_eq!(runs(10, 10).map(|r| r.len()), Some(1));
        assert_eq!(runs(10, 9), Some(vec![0..5, 5..10]));
        assert_eq!(runs(10, 3), Some(vec![0..3, 3..6, 6..9, 9..10]));
        assert_eq!(runs(3, 1), Some(vec![0..1, 1..2, 2..3]));
        assert_eq!(runs(0, 1), Some(vec![]));
        assert_eq!(runs(5, 0), None);
    }
}
