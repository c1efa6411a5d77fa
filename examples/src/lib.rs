//! What the examples share: a device and systems by their names, the course of training, series of runs, pictures of where a
//! system looked, and long work that shows how far it is and can be interrupted.

mod device;
mod log;
mod maps;
mod progress;
mod runs;
mod systems;
mod training;

pub use device::{DEVICES, device};
pub use log::Log;
pub use maps::Shown;
pub use progress::{Interrupt, Progress};
pub use runs::{RunFolder, exit_code, mean_and_deviation, most_frequent, percent};
pub use systems::{Regularisers, SystemConfig, SystemName, SystemOptions, WithSystem};
pub use training::{attention_maps, digits, train};
