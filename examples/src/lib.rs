//! What the examples share: a device by its name, and long work that shows how far it is and can be interrupted.

mod device;
mod progress;

pub use device::{DEVICES, device};
pub use progress::{Interrupt, Progress};
