//! Tests that go through the operations as a whole: any shape they take, and sizes that nothing could hold.

mod any_shape;
#[cfg(feature = "wgpu")]
mod cut;
mod hostile;
