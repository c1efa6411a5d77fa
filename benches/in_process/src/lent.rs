//! Tensors that the process lends by name, and what the cases ask for.

use crate::{Outcome, support::device};
use foveate::{DType, Device, Dims, Result, Tensor};
use std::cell::RefCell;

/// A tensor's name, and what tells it from others of that name.
type Key = (String, Dims, DType);

/// What a case asked for by name while it was prepared.
#[derive(Default)]
pub(crate) struct Asked {
    /// Bytes of all of it.
    pub(crate) bytes: u64,
    /// How many tensors were the process's, and how many had to be made.
    pub(crate) shared: usize,
    pub(crate) made: usize,
}

thread_local! {
    static LENT: RefCell<Vec<(Key, Tensor)>> = const { RefCell::new(Vec::new()) };
    static ASKED: RefCell<Asked> = RefCell::default();
}

/// A tensor of that name, if the process lent it.
pub(crate) fn given(name: &str, dims: Dims, dtype: DType) -> Result<Option<Tensor>> {
    let found = LENT.with_borrow(|lent| {
        let mut tensors = lent.iter().rev();
        tensors
            .find(|((n, d, t), _)| n == name && *d == dims && *t == dtype)
            .map(|(_, tensor)| tensor.clone())
    });
    ASKED.with_borrow_mut(|asked| {
        asked.bytes += (dims.elements() * dtype.size()) as u64;
        asked.shared += usize::from(found.is_some());
        asked.made += usize::from(found.is_none());
    });
    Ok(found)
}

/// What was asked for since the last time.
pub(crate) fn asked() -> Asked {
    ASKED.take()
}

/// Takes memory of the process under a name, without a copy: f32 or u8, packed and row-major.
///
/// # Safety
/// From `pointer` on lie that many elements, which the device can reach and nobody changes until [`forget`]; what wrote
/// them is done.
pub(crate) unsafe fn lend(name: &str, dtype: &str, dims: Dims, pointer: u64) -> Outcome<()> {
    let device = device();
    if !matches!(device, Device::Cuda(_)) {
        return Err("no device is open: ask for `open` first".into());
    }
    // SAFETY: the caller's promise; the process owns the memory, so that nothing is dropped with it.
    let tensor = unsafe {
        match dtype {
            "f32" => Tensor::from_cuda_pointer::<f32>(&device, pointer, dims, Box::new(())),
            "u8" => Tensor::from_cuda_pointer::<u8>(&device, pointer, dims, Box::new(())),
            _ => return Err(format!("{name}: elements of {dtype}, must be f32 or u8").into()),
        }
    }?;
    let key = (name.to_owned(), dims, tensor.dtype());
    LENT.with_borrow_mut(|lent| lent.push((key, tensor)));
    Ok(())
}

/// Lets go of everything that was lent.
pub(crate) fn forget() {
    LENT.with_borrow_mut(Vec::clear);
}
