//! Layer normalisation through wgpu: a launch forward, and two backward (dx, then the sums over rows). Batches larger than
//! a binding are cut into runs of rows.

use super::{LayerNorm, LayerNormGrad};
use crate::{
    device::Meta,
    error::Result,
    wgpu::{Cx, In, Out, ROW_THREADS, View, lanes, row_groups, times},
};

mod row_kernels {
    crate::wgpu_params! {
        #[derive(Default)]
        pub(super) struct LayerNormParams {
            x_first: u32, dy_first: u32, weight_first: u32, bias_first: u32, y_first: u32, statistics_first: u32,
            rows: u32, size: u32, affine: u32, eps: f32,
        }
    }
    crate::wgpu_kernel! {
        op: "layer_norm", texts: ["common/grid", "common/lanes", "layer_norm/layer_norm"], params: LayerNormParams,
        tuning: [THREADS, LANES],
        FORWARD = "layer_norm_f32", tried with [[128, 1], [128, 128]];
        GRAD = "layer_norm_grad_f32", tried with [[128, 1], [128, 128]];
    }
}

mod affine_kernels {
    crate::wgpu_params! {
        pub(super) struct GradAffineParams {
            x_first: u32, dy_first: u32, statistics_first: u32, dweight_first: u32, dbias_first: u32,
            rows: u32, size: u32, add: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "layer_norm_grad", texts: ["common/grid", "layer_norm/grad_affine"], params: GradAffineParams, tuning: [],
        F32 = "layer_norm_grad_affine_f32", tried with [[]];
    }
    pub(super) const COLUMNS: usize = 32;
}
use row_kernels::LayerNormParams;

/// Rows and their size.
fn sizes(x: &View) -> (usize, usize) {
    let size = x.dims[x.dims.rank() - 1];
    (x.dims.elements() / size, size)
}

impl LayerNorm {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (x, y) = (&ins[0], &outs[0]);
        let (rows, size) = sizes(x);
        let lanes = lanes(size, 1);
        for run in cx.cut(rows, |run| [(*x, times(run, size)), (*y, times(run, size))])? {
            let slices = [
                cx.bind_range(x, times(&run, size))?,
                cx.bind(ins.get(1).unwrap_or(x))?,
                cx.bind(ins.get(2).unwrap_or(x))?,
                cx.bind_range(y, times(&run, size))?,
            ];
            let params = LayerNormParams {
                x_first: slices[0].first,
                weight_first: slices[1].first,
                bias_first: slices[2].first,
                y_first: slices[3].first,
                rows: run.len() as u32,
                size: size as u32,
                affine: (ins.len() > 1).into(),
                eps: self.eps as f32,
                ..Default::default()
            };
            let groups = cx.groups(row_groups(run.len(), lanes))?;
            cx.launch(&row_kernels::FORWARD, &[ROW_THREADS, lanes], &params, &slices, groups)?;
        }
        Ok(())
    }
}

impl LayerNormGrad {
    /// Bytes for the mean and the inverse deviation of each row.
    pub(super) fn wgpu_scratch(&self, ins: &[Meta]) -> usize {
        let dims = ins[1].dims;
        dims.elements() / dims[dims.rank() - 1] * 8
    }

    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (dy, x, dx) = (&ins[0], &ins[1], &outs[0]);
        let (rows, size) = sizes(x);
        if rows == 0 {
            return outs[1..].iter().try_for_each(|out| crate::ops::view::wgpu::fill(cx, out, 0));
        }
        let scratch = cx.scratch()?;
        let statistics = View { dims: [rows, 2].into(), ..scratch };
        let lanes = lanes(size, 1);
        for run in cx.cut(rows, |run| [(*x, times(run, size)), (*dx, times(run, size))])? {
            let [x, dy, dx] = [x, dy, dx].map(|view| cx.bind_range(view, times(&run, size)));
            let (x, dy, dx) = (x?, dy?, dx?);
            let weight = ins.get(2).map(|weight| cx.bind(weight)).transpose()?.unwrap_or(x);
            let of_rows = cx.bind_range(&statistics, 2 * run.start..2 * run.end)?;
            let params = LayerNormParams {
                x_first: x.first,
                dy_first: dy.first,
                weight_first: weight.first,
                y_first: dx.first,
                statistics_first: of_rows.first,
                rows: run.len() as u32,
                size: size as u32,
                affine: (ins.len() > 2).into(),
                eps: self.eps as f32,
                ..Default::default()
            };
            let groups = cx.groups(row_groups(run.len(), lanes))?;
            let slices = [x, weight, dy, dx, of_rows];
            cx.launch(&row_kernels::GRAD, &[ROW_THREADS, lanes], &params, &slices, groups)?;
            if let [_, dweight, dbias] = outs {
                let [dweight, dbias] = [cx.bind(dweight)?, cx.bind(dbias)?];
                let params = affine_kernels::GradAffineParams {
                    x_first: x.first,
                    dy_first: dy.first,
                    statistics_first: of_rows.first,
                    dweight_first: dweight.first,
                    dbias_first: dbias.first,
                    rows: run.len() as u32,
                    size: size as u32,
                    add: (run.start > 0).into(),
                };
                let groups = cx.groups(size.div_ceil(affine_kernels::COLUMNS))?;
                cx.launch(&affine_kernels::F32, &[], &params, &[x, dy, of_rows, dweight, dbias], groups)?;
            }
        }
        Ok(())
    }
}
