//! The pooling on the CPU: the hidden layer in groups of instances, all bags together; then bag by bag.

use super::{GatedAttention, GatedAttentionGrad, Sizes};
use crate::{
    cpu::{
        In, Out, Product, Scratch, math,
        simd::{largest, sum, sums, vectorised},
    },
    device::{Meta, Op},
    error::{Error, Result},
};
use rayon::prelude::*;

/// Instances that one task takes: sums over instances are added up group by group, whatever the number of threads.
const GROUP: usize = 64;

fn meta(t: &In) -> Meta {
    Meta::new(t.dims, t.dtype)
}

/// `Σ a b`
#[inline(always)]
fn inner(a: &[f32], b: &[f32]) -> f64 {
    let [total] = sums(a, b, |a, b| [a * b]);
    total
}

vectorised! {
    /// In place: t = tanh(t), s = σ(s), row by row of length L; the logits are `Σ w t s`.
    fn gate(t: &mut [f32], s: &mut [f32], w: &[f32], logits: &mut [f32], row: &mut [f32]) {
        let hidden = w.len();
        let rows = t.chunks_exact_mut(hidden).zip(s.chunks_exact_mut(hidden)).zip(logits);
        for ((t, s), logit) in rows {
            for ((t, &w), row) in t.iter_mut().zip(w).zip(row.iter_mut()) {
                *t = math::tanh(*t);
                *row = *t * w;
            }
            s.iter_mut().for_each(|s| *s = math::sigmoid(*s));
            *logit = inner(row, s) as f32;
        }
    }

    /// Softmax of the logits `a` in place, and `y = Σ a_n h_n`; h: (N, D), y: (D).
    fn pool(h: &[f32], a: &mut [f32], y: &mut [f32]) {
        let most = largest(a);
        a.iter_mut().for_each(|a| *a = math::exp(*a - most));
        let inverse = (1.0 / sum(a, |a| a)) as f32;
        y.fill(0.0);
        for (a, h) in a.iter_mut().zip(h.chunks_exact(y.len())) {
            *a *= inverse;
            y.iter_mut().zip(h).for_each(|(y, &h)| *y = a.mul_add(h, *y));
        }
    }

    /// The logits' gradient of a bag: `dl = a ∘ (da' − Σ a da')` with `da' = da + h dy`; h: (N, D), the others (N).
    fn logits_gradient(h: &[f32], a: &[f32], da: &[f32], dy: &[f32], dl: &mut [f32]) {
        for ((dl, h), &da) in dl.iter_mut().zip(h.chunks_exact(dy.len())).zip(da) {
            *dl = (inner(h, dy) + f64::from(da)) as f32;
        }
        let mean = inner(a, dl) as f32;
        dl.iter_mut().zip(a).for_each(|(dl, &a)| *dl = a * (*dl - mean));
    }

    /// Gradients before tanh and sigmoid of some instances, (.., L) each, and sums over them: db_v, db_u, dw, (L) each.
    fn gate_gradient(
        t: &[f32],
        s: &[f32],
        w: &[f32],
        dl: &[f32],
        to_tanh: &mut [f32],
        to_sigmoid: &mut [f32],
        sums: &mut [f32],
    ) {
        let hidden = w.len();
        sums.fill(0.0);
        let (dbv, rest) = sums.split_at_mut(hidden);
        let (dbu, dw) = rest.split_at_mut(hidden);
        for (row, &dl) in dl.iter().enumerate() {
            let range = row * hidden..(row + 1) * hidden;
            let (t, s) = (&t[range.clone()], &s[range.clone()]);
            let (to_tanh, to_sigmoid) = (&mut to_tanh[range.clone()], &mut to_sigmoid[range]);
            for l in 0..hidden {
                let (t, s, scaled) = (t[l], s[l], dl * w[l]);
                to_tanh[l] = scaled * s * (1.0 - t * t);
                to_sigmoid[l] = scaled * t * s * (1.0 - s);
                dw[l] += dl * t * s;
                dbv[l] += to_tanh[l];
                dbu[l] += to_sigmoid[l];
            }
        }
    }
}

impl GatedAttention {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let [h, v, bv, u, bu, w] = ins else {
            return Err(Error::argument(Self::NAME, "takes six operands"));
        };
        let s = Sizes::of(Self::NAME, &meta(h), [&meta(v), &meta(u)], &[&meta(w)])?;
        let (h, w) = (h.f32()?, w.f32()?);
        let layers = [(v.f32()?, bv.f32()?), (u.f32()?, bu.f32()?)];
        let rows = s.batch * s.instances;
        let (mut own_t, mut own_s);
        let (y, weights, t, sigmoid): (_, _, &mut [f32], &mut [f32]) = match outs {
            [y, weights, t, sigmoid] => (y.f32()?, weights.f32()?, t.f32()?, sigmoid.f32()?),
            [y, weights, ..] => {
                own_t = Scratch::new(rows * s.hidden, Self::NAME)?;
                own_s = Scratch::new(rows * s.hidden, Self::NAME)?;
                (y.f32()?, weights.f32()?, &mut own_t, &mut own_s)
            }
            _ => return Ok(()),
        };
        let groups = t.par_chunks_mut(GROUP * s.hidden).zip(sigmoid.par_chunks_mut(GROUP * s.hidden));
        groups.zip(weights.par_chunks_mut(GROUP)).enumerate().try_for_each(
            |(g, ((t, sigmoid), logits))| {
                let h = &h[g * GROUP * s.features..];
                let product = Product::new(logits.len(), s.features, s.hidden).b_transposed().add();
                for (to, (matrix, bias)) in [&mut *t, &mut *sigmoid].into_iter().zip(layers) {
                    to.chunks_exact_mut(s.hidden).for_each(|to| to.copy_from_slice(bias));
                    product.run(h, matrix, to);
                }
                gate(t, sigmoid, w, logits, &mut Scratch::<f32>::new(s.hidden, Self::NAME)?);
                Ok(())
            },
        )?;
        if s.instances == 0 {
            y.fill(0.0);
            return Ok(());
        }
        let bags = y.par_chunks_mut(s.features).zip(weights.par_chunks_mut(s.instances));
        bags.zip(h.par_chunks(s.instances * s.features)).for_each(|((y, a), h)| pool(h, a, y));
        Ok(())
    }
}

impl GatedAttentionGrad {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let [h, v, u, w, a, t, sigmoid, dy, da] = ins else {
            return Err(Error::argument(Self::NAME, "takes nine operands"));
        };
        let s = Sizes::of(Self::NAME, &meta(h), [&meta(v), &meta(u)], &[&meta(w)])?;
        let (h, v, u, w, a) = (h.f32()?, v.f32()?, u.f32()?, w.f32()?, a.f32()?);
        let (t, sigmoid, dy, da) = (t.f32()?, sigmoid.f32()?, dy.f32()?, da.f32()?);
        let mut outs = outs.iter_mut();
        let mut wanted: [Option<&mut [f32]>; 6] = Default::default();
        for (to, _) in wanted.iter_mut().zip(self.wants).filter(|(_, want)| *want) {
            *to = outs.next().map(Out::f32).transpose()?;
        }
        let [dh, dv, dbv, du, dbu, dw] = wanted;
        let rows = s.batch * s.instances;

        let mut dl = Scratch::<f32>::new(rows, Self::NAME)?;
        let bags = dl.par_chunks_mut(s.instances.max(1)).enumerate();
        bags.for_each(|(b, dl)| {
            let (bag, h) = (b * s.instances..(b + 1) * s.instances, &h[b * s.instances * s.features..]);
            logits_gradient(h, &a[bag.clone()], &da[bag], &dy[b * s.features..(b + 1) * s.features], dl);
        });
        let mut to_tanh = Scratch::<f32>::new(rows * s.hidden, Self::NAME)?;
        let mut to_sigmoid = Scratch::<f32>::new(rows * s.hidden, Self::NAME)?;
        let mut sums = Scratch::<f32>::new(rows.div_ceil(GROUP) * 3 * s.hidden, Self::NAME)?;
        let groups =
            to_tanh.par_chunks_mut(GROUP * s.hidden).zip(to_sigmoid.par_chunks_mut(GROUP * s.hidden));
        groups.zip(sums.par_chunks_mut(3 * s.hidden)).enumerate().for_each(
            |(g, ((to_tanh, to_sigmoid), sums))| {
                let (start, len) = (g * GROUP * s.hidden, to_tanh.len());
                let (t, sigmoid) = (&t[start..start + len], &sigmoid[start..start + len]);
                gate_gradient(t, sigmoid, w, &dl[g * GROUP..][..len / s.hidden], to_tanh, to_sigmoid, sums);
            },
        );
        for (at, to) in [dbv, dbu, dw].into_iter().enumerate() {
            let Some(to) = to else { continue };
            to.fill(0.0);
            for sums in sums.chunks_exact(3 * s.hidden) {
                to.iter_mut().zip(&sums[at * s.hidden..]).for_each(|(to, sum)| *to += sum);
            }
        }
        let to_matrix = Product::new(s.hidden, rows, s.features).a_transposed().threads();
        if let Some(dv) = dv {
            to_matrix.run(&to_tanh, h, dv);
        }
        if let Some(du) = du {
            to_matrix.run(&to_sigmoid, h, du);
        }
        if let Some(dh) = dh {
            instances(&s, (v, u), (a, dy), (&to_tanh, &to_sigmoid), dh);
        }
        Ok(())
    }
}

/// v, u: (L, D), a: (B, N), dy: (B, D), gradients before tanh and sigmoid: (B, N, L) -> dh: (B, N, D)
fn instances(
    s: &Sizes,
    (v, u): (&[f32], &[f32]),
    (a, dy): (&[f32], &[f32]),
    (to_tanh, to_sigmoid): (&[f32], &[f32]),
    dh: &mut [f32],
) {
    dh.par_chunks_mut(GROUP * s.features).enumerate().for_each(|(g, dh)| {
        for (row, dh) in dh.chunks_exact_mut(s.features).enumerate() {
            let row = g * GROUP + row;
            let dy = &dy[row / s.instances * s.features..][..s.features];
            dh.iter_mut().zip(dy).for_each(|(dh, dy)| *dh = a[row] * dy);
        }
        let product = Product::new(dh.len() / s.features, s.hidden, s.features).add();
        product.run(&to_tanh[g * GROUP * s.hidden..], v, dh);
        product.run(&to_sigmoid[g * GROUP * s.hidden..], u, dh);
    });
}
