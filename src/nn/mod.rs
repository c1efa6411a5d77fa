//! Networks composed from [`crate::ops`]: layers, the ResNet patch encoder, the cross-attention transformer, and task
//! heads. There is no kernel here.
//!
//! A forward pass is handed a [`Pass`], which says whether it trains, holds the tape and the random stream, and collects
//! the new running statistics. Nothing about a pass is hidden in the layers.

mod attention;
mod fused;
mod heads;
pub mod init;
mod layers;
mod module;
mod pass;
mod resnet;
#[cfg(test)]
mod tests;

pub use crate::ops::GlobalPool;
pub use attention::{Transformer, TransformerConfig};
pub use fused::FusedResNet;
pub use heads::{Activation, Head, Losses, Targets, Task};
pub use layers::{BatchNorm, Conv2d, LayerNorm, Linear};
pub use module::{Module, Role};
pub use pass::{Pass, Statistics};
pub use resnet::{BasicBlock, ResNet, ResNetConfig};
