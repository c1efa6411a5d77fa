//! Launching kernels: what a launch file sees of its operands, and the one call that it makes.

use super::{Cuda, Kernel};
use crate::{
    Dims,
    device::Meta,
    dtype::DType,
    error::{Error, Result},
};
use bytemuck::NoUninit;
use cudarc::driver::{CudaStream, result};
use std::{ffi::c_void, sync::atomic::Ordering};

/// The most pointers a kernel takes.
const MAX_POINTERS: usize = 15;

/// Elements of a block: `ELEMENT_THREADS * ELEMENT_STEPS` of `kernels/common/elements.cuh`.
const ELEMENTS: usize = 256 * 4;

/// An operand on the device, read only.
#[derive(Clone, Copy, Debug)]
pub struct In {
    /// Its shape.
    pub dims: Dims,
    /// Its element type.
    pub dtype: DType,
    /// Its first element.
    pub(crate) pointer: u64,
}

impl In {
    /// Its shape and element type.
    pub fn meta(&self) -> Meta {
        Meta { dims: self.dims, dtype: self.dtype }
    }
}

/// A result on the device, to be written in full: its contents are unspecified before, except for operations that
/// update in place.
#[derive(Clone, Copy, Debug)]
pub struct Out {
    /// Its shape.
    pub dims: Dims,
    /// Its element type.
    pub dtype: DType,
    /// Its first element.
    pub(crate) pointer: u64,
}

/// A pointer for a kernel: an operand, a result, scratch, or nothing.
#[derive(Clone, Copy, Debug)]
pub struct Argument(u64);

impl Argument {
    /// A null pointer, for what a kernel can do without.
    pub const NONE: Argument = Argument(0);

    /// An address on the device.
    pub(super) fn at(pointer: u64) -> Self {
        Argument(pointer)
    }

    /// The pointer this many bytes on.
    pub(crate) fn after(self, bytes: usize) -> Self {
        Argument(self.0 + bytes as u64)
    }

    /// The pointer this many 4-byte elements on.
    pub(crate) fn after_words(self, words: usize) -> Self {
        self.after(4 * words)
    }

    /// Whether it is a multiple of this many bytes.
    pub(crate) fn is_aligned(self, bytes: usize) -> bool {
        self.0.is_multiple_of(bytes as u64)
    }
}

impl From<&In> for Argument {
    fn from(x: &In) -> Self {
        Argument(x.pointer)
    }
}

impl From<&Out> for Argument {
    fn from(y: &Out) -> Self {
        Argument(y.pointer)
    }
}

/// How much of a kernel to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    /// Blocks along x, y and z.
    blocks: [usize; 3],
    /// Threads of a block, if not those of the kernel's launch bounds.
    threads: Option<u32>,
    /// Bytes of dynamic shared memory of a block.
    shared: u32,
}

impl Grid {
    /// Blocks along x, y and z, of as many threads as the kernel's launch bounds say. None along any axis: nothing runs.
    pub(crate) fn blocks(blocks: [usize; 3]) -> Self {
        Grid { blocks, threads: None, shared: 0 }
    }

    /// Enough blocks along x for `items` of which each block does `each`.
    pub(crate) fn over(items: usize, each: usize) -> Self {
        Self::blocks([items.div_ceil(each), 1, 1])
    }

    /// For a kernel built on `kernels/common/elements.cuh`, over `count` elements.
    pub(crate) fn elements(count: usize) -> Self {
        Self::over(count, ELEMENTS)
    }

    /// Blocks of such a kernel, one at least.
    pub(crate) fn blocks_of(count: usize) -> usize {
        count.div_ceil(ELEMENTS).max(1)
    }

    /// Blocks of this many threads.
    pub(crate) fn threads(mut self, threads: u32) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Blocks with this many bytes of dynamic shared memory.
    pub(crate) fn shared(mut self, bytes: u32) -> Self {
        self.shared = bytes;
        self
    }

    /// The driver's numbers, or the limit that they exceed.
    fn checked(&self, op: &'static str) -> Result<(u32, u32, u32)> {
        const NAMES: [&str; 3] = ["blocks along x", "blocks along y", "blocks along z"];
        const MOST: [u64; 3] = [i32::MAX as u64, 65_535, 65_535];
        for axis in 0..3 {
            let need = self.blocks[axis] as u64;
            if need > MOST[axis] {
                let what = "split the operand along its leading axis".to_owned();
                return Err(Error::Limit { op, limit: NAMES[axis], have: MOST[axis], need, what });
            }
        }
        let [x, y, z] = self.blocks.map(|n| n as u32);
        Ok((x, y, z))
    }
}

/// What an operation needs of its device for one run.
#[derive(Clone, Copy, Debug)]
pub struct Cx<'a> {
    pub(crate) device: &'a Cuda,
    pub(crate) op: &'static str,
    /// As many bytes as the operation asked for, 256-byte aligned; null if it asked for none.
    pub(crate) scratch: u64,
    /// Where launches go, if not to the device's stream.
    pub(super) stream: Option<&'a CudaStream>,
    /// Whether that stream only records them.
    pub(super) recorded: bool,
}

impl<'a> Cx<'a> {
    /// For launches that are done at once, without scratch.
    pub(crate) fn new(device: &'a Cuda, op: &'static str) -> Self {
        Cx { device, op, scratch: 0, stream: None, recorded: false }
    }
}

impl Cx<'_> {
    /// The device.
    pub fn device(&self) -> &Cuda {
        self.device
    }

    /// The stream that launches go to.
    pub(super) fn stream(&self) -> &CudaStream {
        self.stream.unwrap_or(&self.device.stream)
    }

    /// The operation's name, for errors.
    pub(crate) fn op(&self) -> &'static str {
        self.op
    }

    /// The operation's scratch memory; null if it asked for none.
    pub fn scratch(&self) -> Argument {
        Argument(self.scratch)
    }

    /// Bytes of shared memory that a block may have: 99 KB on every GPU that the kernels run on, or more.
    pub(crate) fn shared_bytes(&self) -> u32 {
        self.device.shared()
    }

    /// A size as the kernels hold it.
    pub(crate) fn u32(&self, size: usize) -> Result<u32> {
        let most = i32::MAX as usize;
        if size > most {
            let what = "split the operand along its leading axis".to_owned();
            return Err(Error::Limit {
                op: self.op,
                limit: "size",
                have: most as u64,
                need: size as u64,
                what,
            });
        }
        Ok(size as u32)
    }

    /// The kernel of one of several variants. A variant of another crate has none.
    pub(crate) fn numbered(&self, kernels: &[Kernel], number: u32) -> Result<Kernel> {
        kernels.get(number as usize).copied().ok_or_else(|| Error::Unsupported {
            op: self.op,
            device: self.device.to_string(),
            what: "move the operands to a device that has it with to_device".into(),
        })
    }

    /// Launches one kernel: pointers in the order of its parameters, then its parameter block.
    ///
    /// The sizes are held against those of the compiled kernel; that each pointer is to what the kernel takes it for is
    /// the launch file's part, as the shapes are the part of [`crate::device::Op::infer`].
    pub(crate) fn launch<P: NoUninit>(
        &self,
        kernel: Kernel,
        grid: Grid,
        pointers: &[Argument],
        params: &P,
    ) -> Result<()> {
        let blocks = grid.checked(self.op)?;
        let block_bytes = kernel.params.last().map_or(0, |&bytes| bytes as usize);
        if pointers.len() + 1 != kernel.params.len()
            || pointers.len() > MAX_POINTERS
            || block_bytes != size_of::<P>()
        {
            let what = format!(
                "{} takes parameters of {:?} bytes, the launch brings {} pointers and a block of {} bytes",
                kernel.name,
                kernel.params,
                pointers.len(),
                size_of::<P>()
            );
            return Err(Error::Device { device: self.device.to_string(), what });
        }
        if blocks.0 == 0 || blocks.1 == 0 || blocks.2 == 0 {
            return Ok(());
        }
        if grid.shared > self.shared_bytes() {
            return Err(Error::Limit {
                op: self.op,
                limit: "bytes of shared memory in a block",
                have: self.shared_bytes().into(),
                need: grid.shared.into(),
                what: "use smaller operands".into(),
            });
        }
        let mut values = [Argument::NONE; MAX_POINTERS];
        let mut list: [*mut c_void; MAX_POINTERS + 1] = [std::ptr::null_mut(); MAX_POINTERS + 1];
        for (at, pointer) in pointers.iter().enumerate() {
            values[at] = *pointer;
            list[at] = (&raw mut values[at].0).cast();
        }
        list[pointers.len()] = std::ptr::from_ref(params).cast_mut().cast();
        self.device.bind(kernel.name)?;
        let function = self.device.functions[kernel.index].0;
        if function.is_null() {
            let what = format!("{} has instructions of another compute capability: use Auto", kernel.name);
            return Err(Error::Unsupported { op: self.op, device: self.device.to_string(), what });
        }
        let threads = (grid.threads.unwrap_or(kernel.threads), 1, 1);
        if !self.recorded {
            self.device.launches.fetch_add(1, Ordering::Relaxed);
        }
        let stream = self.stream().cu_stream();
        // SAFETY: the handle is of a module that lives as long as the device; the driver copies the parameters, whose
        // number and sizes were checked, before it returns; the buffers behind the pointers are freed to a pool that hands
        // them out to work which comes after this: on this stream, or behind an event on it. Those of a recorded launch
        // belong to the graph's owner, who keeps them as long as the graph.
        let launched = unsafe {
            result::launch_kernel(
                function,
                blocks,
                threads,
                grid.shared,
                stream,
                &mut list[..=pointers.len()],
            )
        };
        launched.map_err(|e| self.device.failure(kernel.name, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cuda::TOP_K_SORT, testing::cuda_of_its_own};

    #[test]
    fn more_shared_memory_than_a_block_may_have_is_refused() {
        let Some(cuda) = cuda_of_its_own() else { return };
        let cx = Cx::new(&cuda, "a test");
        assert!(cx.shared_bytes() >= 99 * 1024, "{} bytes", cx.shared_bytes());
        let launch = |bytes: u32| {
            let grid = Grid::blocks([1, 1, 1]).threads(32).shared(bytes);
            cx.launch(TOP_K_SORT, grid, &[Argument::NONE; 3], &[0_u32; TOP_K_SORT.params[3] as usize / 4])
        };
        let refused = launch(cx.shared_bytes() + 1).unwrap_err();
        assert!(
            matches!(&refused, Error::Limit { op: "a test", have, need, .. } if need - have == 1),
            "{refused}"
        );
        assert_eq!(cuda.launches(), 0);
    }
}
