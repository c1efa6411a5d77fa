//! The estimated expectation on the CPU: the few masses of a row in `f64`, the features in vectors. One task per row.

use super::{Estimator, Expectation, ExpectationGradAttention, ExpectationGradFeatures};
use crate::{
    cpu::{
        In, Out,
        simd::{sums, vectorised},
    },
    error::Result,
};
use rayon::prelude::*;

/// Elements of the features below which one task takes several rows.
const PART: usize = 16 * 1024;

/// Rows that one task takes when each has `elements` features.
fn rows(elements: usize) -> usize {
    PART.div_ceil(elements.max(1))
}

impl Expectation {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let [k, d] = [ins[1].dims[1], ins[1].dims[2]];
        let (attention, features) = (ins[0].f32()?, ins[1].f32()?);
        let y = outs[0].f32()?;
        if y.is_empty() {
            return Ok(());
        }
        y.par_chunks_mut(d).with_min_len(rows(k * d)).enumerate().for_each(|(row, y)| {
            y.fill(0.0);
            let a = &attention[row * k..(row + 1) * k];
            for (f, c) in features[row * k * d..(row + 1) * k * d].chunks(d).zip(weights(self.replace, a)) {
                add_scaled(c as f32, f, y);
            }
        });
        Ok(())
    }
}

impl ExpectationGradFeatures {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let [k, d] = [ins[0].dims[1], ins[1].dims[1]];
        let (attention, dy) = (ins[0].f32()?, ins[1].f32()?);
        let df = outs[0].f32()?;
        if df.is_empty() {
            return Ok(());
        }
        df.par_chunks_mut(k * d).with_min_len(rows(k * d)).enumerate().for_each(|(row, df)| {
            let a = &attention[row * k..(row + 1) * k];
            for (df, c) in df.chunks_mut(d).zip(weights(self.replace, a)) {
                df.fill(0.0);
                add_scaled(c as f32, &dy[row * d..(row + 1) * d], df);
            }
        });
        Ok(())
    }
}

impl ExpectationGradAttention {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let [k, d] = [ins[1].dims[1], ins[1].dims[2]];
        let (attention, features, dy) = (ins[0].f32()?, ins[1].f32()?, ins[2].f32()?);
        let da = outs[0].f32()?;
        da.par_chunks_mut(k).with_min_len(rows(k * d)).enumerate().for_each(|(row, da)| {
            let (a, dy) = (&attention[row * k..(row + 1) * k], &dy[row * d..(row + 1) * d]);
            let features = &features[row * k * d..(row + 1) * k * d];
            let p: Vec<f64> = (0..k).map(|m| inner(dy, &features[m * d..(m + 1) * d])).collect();
            self.row(a, &p, da);
        });
        Ok(())
    }

    /// The gradient of one row, from `p_m = ⟨G, f_m⟩`.
    fn row(&self, a: &[f32], p: &[f64], da: &mut [f32]) {
        const TINY: f64 = 1e-30;
        let (k, w) = (a.len(), 1.0 / a.len() as f64);
        let a = |m: usize| f64::from(a[m]);
        if self.replace {
            (0..k).for_each(|m| da[m] = (w * p[m] / a(m).max(TINY)) as f32);
            return;
        }
        // From front to back: what depends on earlier draws.
        let (mut left, mut seen, mut before) = (1.0_f64, 0.0, 0.0);
        let mut later: Vec<f64> = Vec::with_capacity(k);
        for m in 0..k {
            let r = left.max(a(m));
            let h = seen + r * p[m];
            let by_a = h / a(m).max(TINY);
            match self.estimator {
                Estimator::Official => da[m] = (w * (by_a * r + before - m as f64 * p[m])) as f32,
                Estimator::Unbiased => da[m] = by_a as f32,
            }
            later.push(h / r.max(TINY) - p[m]);
            (left, seen, before) = (left - a(m), seen + a(m) * p[m], before + p[m]);
        }
        if self.estimator == Estimator::Unbiased {
            // And from back to front: what depends on later ones.
            let mut after = 0.0;
            for m in (0..k).rev() {
                da[m] = (w * (f64::from(da[m]) + after + (k - 1 - m) as f64 * p[m])) as f32;
                after += later[m];
            }
        }
    }
}

/// The weight `c_m` of each sample in the estimate.
fn weights(replace: bool, a: &[f32]) -> impl Iterator<Item = f64> + '_ {
    let k = a.len();
    let mut left = 1.0_f64;
    a.iter().enumerate().map(move |(m, &a)| {
        let a = f64::from(a);
        let r = left.max(a);
        left -= a;
        if replace { 1.0 / k as f64 } else { (r + a * (k - 1 - m) as f64) / k as f64 }
    })
}

vectorised! {
    /// y += c x
    fn add_scaled(c: f32, x: &[f32], y: &mut [f32]) {
        y.iter_mut().zip(x).for_each(|(y, &x)| *y = c.mul_add(x, *y));
    }

    fn inner(x: &[f32], y: &[f32]) -> f64 {
        sums(x, y, |x, y| [x * y])[0]
    }
}
