//! Window maxima through wgpu. Tensors larger than a binding are cut into runs of planes.

use super::{MaxPool2d, MaxPool2dGrad};
use crate::{
    error::Result,
    wgpu::{Cx, In, Out, times},
};

mod forward {
    crate::wgpu_params! {
        pub(super) struct MaxPool2dParams {
            x_first: u32, y_first: u32, codes_first: u32, count: u32, height: u32, width: u32, out_height: u32,
            out_width: u32, kernel_height: u32, kernel_width: u32, stride_height: u32, stride_width: u32, top: u32,
            left: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "max_pool2d", texts: ["common/grid", "common/exp", "common/math", "pool/max_pool2d"],
        params: MaxPool2dParams, tuning: [],
        F32 = "max_pool2d_f32", tried with [[]];
    }
    pub(super) const THREADS: usize = 64;
}

mod grad {
    crate::wgpu_params! {
        pub(super) struct MaxPool2dGradParams {
            dy_first: u32, codes_first: u32, dx_first: u32, count: u32, height: u32, width: u32, out_height: u32,
            out_width: u32, kernel_height: u32, kernel_width: u32, stride_height: u32, stride_width: u32, top: u32,
            left: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "max_pool2d_grad", texts: ["common/grid", "pool/max_pool2d_grad"], params: MaxPool2dGradParams, tuning: [],
        F32 = "max_pool2d_grad_f32", tried with [[]];
    }
    pub(super) const THREADS: usize = 128;
}

impl MaxPool2d {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (x, y, codes) = (&ins[0], &outs[0], &outs[1]);
        let [image, output] = [x, y].map(|view| [view.dims[2], view.dims[3]]);
        let (pixels, windows) = (image[0] * image[1], output[0] * output[1]);
        let planes = x.dims[0] * x.dims[1];
        for run in cx.cut(planes, |run| [(*x, times(run, pixels)), (*y, times(run, windows))])? {
            let slices = [
                cx.bind_range(x, times(&run, pixels))?,
                cx.bind_range(y, times(&run, windows))?,
                cx.bind_range(codes, times(&run, windows))?,
            ];
            let count = run.len() * windows;
            let params = forward::MaxPool2dParams {
                x_first: slices[0].first,
                y_first: slices[1].first,
                codes_first: slices[2].first,
                count: count as u32,
                height: image[0] as u32,
                width: image[1] as u32,
                out_height: output[0] as u32,
                out_width: output[1] as u32,
                kernel_height: self.kernel[0] as u32,
                kernel_width: self.kernel[1] as u32,
                stride_height: self.stride[0] as u32,
                stride_width: self.stride[1] as u32,
                top: self.padding[0] as u32,
                left: self.padding[1] as u32,
            };
            let words = (slices[2].first as usize % 4 + count).div_ceil(4);
            let groups = cx.groups(words.div_ceil(forward::THREADS))?;
            cx.launch(&forward::F32, &[], &params, &slices, groups)?;
        }
        Ok(())
    }
}

impl MaxPool2dGrad {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (dy, codes, dx) = (&ins[0], &ins[1], &outs[0]);
        let [image, output] = [dx, dy].map(|view| [view.dims[2], view.dims[3]]);
        let (pixels, windows) = (image[0] * image[1], output[0] * output[1]);
        let planes = dx.dims[0] * dx.dims[1];
        for run in cx.cut(planes, |run| [(*dx, times(run, pixels)), (*dy, times(run, windows))])? {
            let slices = [
                cx.bind_range(dy, times(&run, windows))?,
                cx.bind_range(codes, times(&run, windows))?,
                cx.bind_range(dx, times(&run, pixels))?,
            ];
            let count = run.len() * pixels;
            let params = grad::MaxPool2dGradParams {
                dy_first: slices[0].first,
                codes_first: slices[1].first,
                dx_first: slices[2].first,
                count: count as u32,
                height: image[0] as u32,
                width: image[1] as u32,
                out_height: output[0] as u32,
                out_width: output[1] as u32,
                kernel_height: self.pool.kernel[0] as u32,
                kernel_width: self.pool.kernel[1] as u32,
                stride_height: self.pool.stride[0] as u32,
                stride_width: self.pool.stride[1] as u32,
                top: self.pool.padding[0] as u32,
                left: self.pool.padding[1] as u32,
            };
            let groups = cx.groups(count.div_ceil(grad::THREADS))?;
            cx.launch(&grad::F32, &[], &params, &slices, groups)?;
        }
        Ok(())
    }
}
