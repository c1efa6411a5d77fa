//! Networks composed from [`crate::ops`]: layers, patch encoders, the cross-attention transformer, and task heads. There is
//! no kernel here.
//!
//! A forward pass is handed a [`Pass`], which says whether it trains, holds the tape and the random stream, and collects
//! the new running statistics. Nothing about a pass is hidden in the layers.

#[cfg(test)]
mod aggregator_tests;
mod attention;
mod conv_stack;
mod encoder;
mod fused;
mod gated;
mod heads;
pub mod init;
mod layers;
mod module;
mod nystrom;
mod pass;
mod pre_activation;
mod recompute;
mod resnet;
#[cfg(test)]
mod tests;
mod trans_mil;

pub use crate::ops::GlobalPool;
pub use attention::{Transformer, TransformerConfig};
pub use conv_stack::{ConvLayer, ConvStack, ConvStackConfig, Then};
pub use encoder::{Encoder, EncoderConfig};
pub use fused::FusedResNet;
pub use gated::GatedAttention;
pub use heads::{Activation, Head, Losses, Targets, Task};
pub(crate) use layers::module;
pub use layers::{BatchNorm, Conv2d, LayerNorm, Linear};
pub use module::{Module, Role};
pub use nystrom::{Nystrom, NystromConfig};
pub use pass::{Pass, Statistics};
pub use pre_activation::{PreActivation, PreActivationConfig};
pub use resnet::{BasicBlock, ResNet, ResNetConfig};
pub use trans_mil::TransMil;
