//! Pictures of what a network does: curves of its training, and maps of where it looked. PNG files, written whole.

mod attention;
mod curves;

pub use attention::{attention_map, heat_map, viridis};
pub use curves::{Panel, Series, curves, panels};
