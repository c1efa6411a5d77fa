//! The convolution and its gradients as plain loops over every product that enters them.

use super::{Conv2d, Shape};
use crate::spec::{In, Out, Real};

/// Where the operands of one product stand in x, weight and y.
pub(super) struct Product {
    pub(super) x: usize,
    pub(super) weight: usize,
    pub(super) y: usize,
}

/// Calls `f` for every product x · weight that contributes to a y.
pub(super) fn each_product(s: &Shape, mut f: impl FnMut(Product)) {
    let ([height, width], [kh, kw], [oh, ow]) = (s.image, s.kernel, s.output);
    let (per_group, out_per_group) = (s.channels / s.groups, s.out / s.groups);
    for b in 0..s.batch {
        for o in 0..s.out {
            for r in 0..oh {
                for q in 0..ow {
                    for c in 0..per_group {
                        for i in 0..kh {
                            for j in 0..kw {
                                let row = (r * s.stride[0] + i)
                                    .checked_sub(s.padding[0])
                                    .filter(|&row| row < height);
                                let column =
                                    (q * s.stride[1] + j).checked_sub(s.padding[2]).filter(|&at| at < width);
                                if let (Some(row), Some(column)) = (row, column) {
                                    let channel = o / out_per_group * per_group + c;
                                    f(Product {
                                        x: ((b * s.channels + channel) * height + row) * width + column,
                                        weight: ((o * per_group + c) * kh + i) * kw + j,
                                        y: ((b * s.out + o) * oh + r) * ow + q,
                                    });
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The sizes of a run; `infer` has checked that they fit, so an error here means no products at all.
fn shape(conv: &Conv2d, x: &[usize], weight: &[usize], mut f: impl FnMut(&Shape)) {
    if let (Ok(x), Ok(weight)) = (x.try_into(), weight.try_into())
        && let Ok(shape) = conv.shape("conv2d", x, weight)
    {
        f(&shape);
    }
}

/// ins: x (B, C, H, W), weight (O, C / groups, kh, kw), perhaps bias (O) -> y (B, O, h, w)
pub(super) fn forward<T: Real>(conv: &Conv2d, ins: &[In<T>], y: &mut Out<T>) {
    let (x, weight) = (&ins[0], &ins[1]);
    shape(conv, &x.dims, &weight.dims, |s| {
        each_product(s, |p| y[p.y] += x[p.x] * weight[p.weight]);
        if let Some(bias) = ins.get(2) {
            let pixels = s.output[0] * s.output[1];
            for (i, y) in y.iter_mut().enumerate() {
                *y += bias[i / pixels % s.out];
            }
        }
    });
}

/// dy (B, O, h, w), weight -> dx (B, C, H, W)
pub(super) fn grad_input<T: Real>(conv: &Conv2d, dy: &In<T>, weight: &In<T>, dx: &mut Out<T>) {
    let dims = dx.dims;
    shape(conv, &dims, &weight.dims, |s| each_product(s, |p| dx[p.x] += dy[p.y] * weight[p.weight]));
}

/// x (B, C, H, W), dy (B, O, h, w) -> dw (O, C / groups, kh, kw)
pub(super) fn grad_weight<T: Real>(conv: &Conv2d, x: &In<T>, dy: &In<T>, dw: &mut Out<T>) {
    let dims = dw.dims;
    shape(conv, &x.dims, &dims, |s| each_product(s, |p| dw[p.weight] += x[p.x] * dy[p.y]));
}
