//! What the benchmarks take from `../../support`, and the device and the tensors that this process was given.

#[path = "../../support/case.rs"]
#[expect(dead_code, reason = "forms have no names here, and the host's time is taken outside")]
mod case;
#[path = "../../support/inputs.rs"]
mod inputs;
#[path = "../../support/sizes.rs"]
#[expect(dead_code, reason = "the sizes of other devices")]
pub(crate) mod sizes;
#[path = "../../support/words.rs"]
mod words;

pub(crate) use crate::lent::given;
pub(crate) use case::{Call, Case, Results, many, one};
pub(crate) use inputs::{between, byte_tensor, dense_image, fill, sparse_image, uniform};

use foveate::Device;
use std::cell::RefCell;

thread_local! {
    static DEVICE: RefCell<Device> = const { RefCell::new(Device::Cpu) };
}

/// Where all tensors of the cases are: the CPU until a device is opened.
pub(crate) fn device() -> Device {
    DEVICE.with_borrow(Clone::clone)
}

/// From now on that is the device.
pub(crate) fn set_device(device: Device) {
    DEVICE.set(device);
}
