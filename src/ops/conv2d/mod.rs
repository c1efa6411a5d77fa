//! Two-dimensional convolution (cross-correlation) and its two gradients.
//!
//! `y[b, o, r, q] = bias[o] + Σ over c, i, j of x[b, c, r·sh + i − top, q·sw + j − left] · weight[o, c, i, j]`; pixels
//! outside `x` are zero. With groups, output channel `o` sees only the input channels of its group. The output has
//! `(H + top + bottom − kh) / sh + 1` rows and `(W + left + right − kw) / sw + 1` columns.

mod algorithm;
pub(crate) mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod fused;
mod grad;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod space;
mod spec;
mod statistics;
#[cfg(test)]
mod tests;
#[cfg(feature = "wgpu")]
mod wgpu;

use crate::{
    Device, DeviceKind, Precision,
    device::{Meta, Metas, Op},
    error::{Error, Result},
    ops::{axes, check_dtypes, float},
    spec::{In, Out, Real},
    tape::{Save, apply1},
    tensor::Tensor,
};
use smallvec::smallvec;

pub use algorithm::Algorithm;
pub use fused::{Conv2dFused, conv2d_fused};
pub use statistics::{Conv2dStatistics, conv2d_batch_norm};

/// The geometry of a convolution, and how to compute it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// Rows of zeros above and below, columns of zeros left and right: `[top, bottom, left, right]`.
    pub padding: [usize; 4],
    /// Groups of channels that do not mix; 1 for an ordinary convolution, the number of channels for a depthwise one.
    pub groups: usize,
    /// How it is computed.
    pub algorithm: Algorithm,
    /// How its operands are rounded; `None`: as the device is set to.
    pub precision: Option<Precision>,
}

impl Conv2d {
    /// Equal strides and symmetric padding, one group, computed as the device likes best.
    pub fn new(stride: usize, padding: usize) -> Self {
        Conv2d {
            stride: [stride; 2],
            padding: [padding; 4],
            groups: 1,
            algorithm: Algorithm::Auto,
            precision: None,
        }
    }

    /// The same convolution, its operands rounded to `precision`.
    pub fn precision(self, precision: Precision) -> Self {
        Conv2d { precision: Some(precision), ..self }
    }

    /// The same convolution with the precision that it has on a device.
    pub(crate) fn on(self, op: &'static str, device: &Device) -> Result<Self> {
        Ok(Conv2d { precision: Some(Precision::resolve(op, self.precision, device)?), ..self })
    }

    /// The sizes of one run, for images of `(B, C, H, W)` and weights of `(O, C / groups, kh, kw)`.
    pub(crate) fn shape(&self, op: &'static str, x: [usize; 4], weight: [usize; 4]) -> Result<Shape> {
        let ([batch, channels, height, width], [out, per_group, kh, kw]) = (x, weight);
        if self.stride.contains(&0) || self.groups == 0 {
            let what = format!("stride {:?} and groups {} must be at least 1", self.stride, self.groups);
            return Err(Error::argument(op, what));
        }
        if channels % self.groups != 0 || out % self.groups != 0 || per_group != channels / self.groups {
            let what = format!(
                "weight {weight:?} does not fit {channels} input channels in {} groups: \
                 it must be (O, C / groups, kh, kw) with O and C multiples of groups",
                self.groups
            );
            return Err(Error::shape(op, what));
        }
        let [top, bottom, left, right] = self.padding;
        let padded = |size: usize, before: usize, after: usize| {
            let size = size.checked_add(before).and_then(|size| size.checked_add(after));
            size.filter(|size| *size <= i32::MAX as usize)
        };
        let (Some(padded_h), Some(padded_w)) = (padded(height, top, bottom), padded(width, left, right))
        else {
            let what =
                format!("{height} by {width} pixels padded by {:?}: a side must be below 2^31", self.padding);
            return Err(Error::argument(op, what));
        };
        if kh == 0 || kw == 0 || kh > padded_h || kw > padded_w {
            let what =
                format!("a kernel of {kh} by {kw} does not fit the padded image of {padded_h} by {padded_w}");
            return Err(Error::shape(op, what));
        }
        let shape = Shape {
            batch,
            groups: self.groups,
            channels,
            image: [height, width],
            out,
            kernel: [kh, kw],
            output: [(padded_h - kh) / self.stride[0] + 1, (padded_w - kw) / self.stride[1] + 1],
            stride: self.stride,
            padding: self.padding,
        };
        self.check_algorithm(op, &shape)?;
        Ok(shape)
    }
}

/// All sizes of one convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) batch: usize,
    pub(crate) groups: usize,
    /// Input channels, over all groups.
    pub(crate) channels: usize,
    /// Height and width of the input.
    pub(crate) image: [usize; 2],
    /// Output channels, over all groups.
    pub(crate) out: usize,
    /// Height and width of the kernel.
    pub(crate) kernel: [usize; 2],
    /// Height and width of the output.
    pub(crate) output: [usize; 2],
    pub(crate) stride: [usize; 2],
    /// Top, bottom, left, right.
    pub(crate) padding: [usize; 4],
}

impl Op for Conv2d {
    const NAME: &'static str = "conv2d";
    const WIDENS: bool = true;
    /// For [`Algorithm::Winograd4`], the default for many shapes: about 2 is measured, 3 on the smallest images.
    const TOLERANCE: f64 = 4.0;
    crate::arms!(cpu, wgpu, cuda);

    /// Operands: x (B, C, H, W), weight (O, C / groups, kh, kw) and, if there is one, bias (O).
    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[float(ins); 3][..ins.len().clamp(2, 3)])?;
        let x = axes(Self::NAME, "the image", &ins[0], "(B, C, H, W)")?;
        let shape =
            self.shape(Self::NAME, x, axes(Self::NAME, "the weight", &ins[1], "(O, C / groups, kh, kw)")?)?;
        if let Some(bias) = ins.get(2) {
            let [size] = axes(Self::NAME, "the bias", bias, "(O)")?;
            if size != shape.out {
                let what = format!("a bias of {size} for {} output channels", shape.out);
                return Err(Error::shape(Self::NAME, what));
            }
        }
        let y = [shape.batch, shape.out, shape.output[0], shape.output[1]];
        Ok(smallvec![Meta::new(y, ins[0].dtype)])
    }

    #[allow(unused_variables)] // in a build without CUDA
    fn scratch(&self, device: DeviceKind, ins: &[Meta]) -> usize {
        match device {
            #[cfg(feature = "cuda")]
            DeviceKind::Cuda => self.cuda_scratch(ins),
            _ => 0,
        }
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::forward(self, ins, &mut outs[0]);
    }
}

/// Gradient of a convolution with respect to its image: operands dy (B, O, h, w) and weight, result (B, C, H, W).
#[derive(Clone, Copy, Debug)]
pub struct Conv2dGradInput {
    /// The convolution.
    pub conv: Conv2d,
    /// Height and width of the image.
    pub image: [usize; 2],
}

impl Op for Conv2dGradInput {
    const NAME: &'static str = "conv2d_grad_input";
    const WIDENS: bool = true;
    /// For [`Algorithm::Winograd4`], the default for many shapes: about 2 is measured, 3 on the smallest images.
    const TOLERANCE: f64 = 4.0;
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[float(ins); 2])?;
        let dy: [usize; 4] = axes(Self::NAME, "dy", &ins[0], "(B, O, h, w)")?;
        let weight: [usize; 4] = axes(Self::NAME, "the weight", &ins[1], "(O, C / groups, kh, kw)")?;
        let channels = weight[1].saturating_mul(self.conv.groups);
        let x = [dy[0], channels, self.image[0], self.image[1]];
        let shape = self.conv.shape(Self::NAME, x, weight)?;
        check_dy(Self::NAME, dy, &shape)?;
        Ok(smallvec![Meta::new(x, ins[0].dtype)])
    }

    #[allow(unused_variables)] // in a build without CUDA
    fn scratch(&self, device: DeviceKind, ins: &[Meta]) -> usize {
        match device {
            #[cfg(feature = "cuda")]
            DeviceKind::Cuda => self.cuda_scratch(ins),
            _ => 0,
        }
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::grad_input(&self.conv, &ins[0], &ins[1], &mut outs[0]);
    }
}

/// Gradient of a convolution with respect to its weight: operands x (B, C, H, W) and dy (B, O, h, w), result
/// (O, C / groups, kh, kw).
#[derive(Clone, Copy, Debug)]
pub struct Conv2dGradWeight {
    /// The convolution.
    pub conv: Conv2d,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
}

impl Op for Conv2dGradWeight {
    const NAME: &'static str = "conv2d_grad_weight";
    const WIDENS: bool = true;
    /// For [`Algorithm::Winograd4`], the default for many shapes: about 2 is measured, 3 on the smallest images.
    const TOLERANCE: f64 = 4.0;
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[float(ins); 2])?;
        let x: [usize; 4] = axes(Self::NAME, "the image", &ins[0], "(B, C, H, W)")?;
        let dy: [usize; 4] = axes(Self::NAME, "dy", &ins[1], "(B, O, h, w)")?;
        let weight = [dy[1], x[1] / self.conv.groups.max(1), self.kernel[0], self.kernel[1]];
        let shape = self.conv.shape(Self::NAME, x, weight)?;
        check_dy(Self::NAME, dy, &shape)?;
        Ok(smallvec![Meta::new(weight, ins[0].dtype)])
    }

    #[allow(unused_variables)] // in a build for the CPU alone
    fn scratch(&self, device: DeviceKind, ins: &[Meta]) -> usize {
        match device {
            #[cfg(feature = "wgpu")]
            DeviceKind::Wgpu => self.wgpu_scratch(ins),
            #[cfg(feature = "cuda")]
            DeviceKind::Cuda => self.cuda_scratch(ins),
            _ => 0,
        }
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::grad_weight(&self.conv, &ins[0], &ins[1], &mut outs[0]);
    }
}

fn check_dy(op: &'static str, dy: [usize; 4], shape: &Shape) -> Result<()> {
    let want = [shape.batch, shape.out, shape.output[0], shape.output[1]];
    if dy == want {
        return Ok(());
    }
    Err(Error::shape(op, format!("dy has shape {dy:?}, the convolution's output has {want:?}")))
}

/// Convolution of `x (B, C, H, W)` with `weight (O, C / groups, kh, kw)`, plus `bias (O)` if given, to `(B, O, h, w)`;
/// `h = ⌊(H + top + bottom − kh) / stride⌋ + 1`, and so `w`. All f32, or all f16, whose
/// products are added up in f32. Gradients of all operands.
///
/// # Errors
///
/// Shapes, channels or groups that do not fit each other, a stride of zero, a kernel larger than the padded image, a
/// padded side of 2³¹ or more.
///
/// ```
/// use foveate::{Device, Tensor, ops, ops::Conv2d};
/// # fn main() -> foveate::Result<()> {
/// let x = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0], [1, 1, 2, 2], &Device::Cpu)?;
/// let weight = Tensor::full(1.0_f32, [1, 1, 3, 3], &Device::Cpu)?;
/// let y = ops::conv2d(&x, &weight, None, Conv2d::new(1, 1))?;
/// assert_eq!(y.to_vec::<f32>()?, [10.0; 4]);
/// # Ok(()) }
/// ```
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, conv: Conv2d) -> Result<Tensor> {
    let ins = [Some(x), Some(weight), bias];
    let ins: Vec<&Tensor> = ins.into_iter().flatten().collect();
    let conv = conv.on(Conv2d::NAME, &x.device())?;
    apply1(&conv, &ins, |save: &Save| grad::Conv2dGrad::new(conv, save))
}
