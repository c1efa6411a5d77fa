//! A device by the name that a command line gives it.

use foveate::{Device, Error, Result};

/// The names that [`device`] knows, as a sentence for `--help`.
pub const DEVICES: &str =
    "cpu, wgpu, wgpu:1 … or wgpu:NAME, cuda, cuda:1 …, or best (CUDA, else a GPU through wgpu, else the CPU)";

/// Opens the device called `name`.
///
/// # Errors
///
/// [`Error::NoDevice`] for a name that is none of [`DEVICES`] and for a device that is not there.
pub fn device(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::Cpu),
        "wgpu" => Device::wgpu(),
        "cuda" => Device::cuda(0),
        "best" => Device::best(),
        other => match (other.strip_prefix("wgpu:"), other.strip_prefix("cuda:").map(str::parse)) {
            (Some(adapter), _) => Device::wgpu_on(adapter),
            (_, Some(Ok(ordinal))) => Device::cuda(ordinal),
            _ => Err(Error::NoDevice { device: other.to_owned(), why: format!("the devices are {DEVICES}") }),
        },
    }
}
