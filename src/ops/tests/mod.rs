//! Tests that go through the operations as a whole: any shape they take, sizes that nothing could hold, and
//! results that have the same bits on several devices.

mod any_shape;
#[cfg(feature = "wgpu")]
mod cut;
mod hostile;
#[cfg(feature = "cuda")]
mod precision;
#[cfg(feature = "cuda")]
mod same_bits;
