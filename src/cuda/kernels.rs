//! The embedded kernels: a constant for each, such as `CONV2D_F32`, made by `build.rs` from `kernels/ptx/MANIFEST.toml`;
//! the PTX version that they are in, and the compute capability that they are for.

/// One PTX file.
pub(crate) struct Module {
    /// Its operation.
    pub(crate) name: &'static str,
    /// The only compute capability that has its instructions, if it is not for all from the oldest on.
    pub(crate) only: Option<(i32, i32)>,
    /// Its text, ended by a zero.
    pub(crate) ptx: &'static str,
    /// Its kernels, in the order of their indices.
    pub(crate) kernels: &'static [Kernel],
}

/// One kernel: where its handle is in every device's table, and what a launch must bring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    pub(crate) index: usize,
    pub(crate) name: &'static str,
    /// Bytes of each parameter: pointers, then one block.
    pub(crate) params: &'static [u32],
    /// Threads of a block, from the kernel's launch bounds.
    pub(crate) threads: u32,
    /// Whether it has shared memory whose size the launch says.
    pub(crate) dynamic_shared: bool,
}

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
