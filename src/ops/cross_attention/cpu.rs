//! The attention on the CPU: image by image in parallel up to `z` (two products with the image's inputs and a softmax
//! between them), then head by head for all images at once.

use super::{CrossAttention, CrossAttentionGrad, Sizes, words_per_image};
use crate::{
    cpu::{
        In, Out, Product, Scratch, math, philox,
        simd::{largest, sum, sums, vectorised},
    },
    device::{Meta, Op},
    error::{Error, Result},
    ops::dropout::Dropout,
};
use rayon::prelude::*;

/// Multiplications of a step from which it is spread over threads.
const SPREAD: usize = 1 << 18;

/// Shortest run of tasks for a thread, when `count` tasks take `work` multiplications each.
fn run_length(count: usize, work: usize) -> usize {
    if count * work < SPREAD { count.max(1) } else { 1 }
}

fn sizes(op: &CrossAttention, name: &'static str, ins: &[In]) -> Result<Sizes> {
    let metas: Vec<Meta> = ins.iter().map(|t| Meta::new(t.dims, t.dtype)).collect();
    op.sizes(name, &metas)
}

/// What each entry of image `b` is multiplied by; `mask`: (H·T, N).
pub(super) fn draw(dropout: &Dropout, b: usize, mask: &mut [f32]) {
    let first = b as u64 * (words_per_image(1, mask.len()) / 4) as u64;
    let words = bytemuck::cast_slice_mut(mask);
    philox::fill(dropout.words, first, words);
    to_factors(words, dropout.threshold(), dropout.scale() as f32);
}

vectorised! {
    /// Random words to the bits of the factors that they stand for.
    fn to_factors(words: &mut [u32], threshold: u32, factor: f32) {
        let kept = factor.to_bits();
        words.iter_mut().for_each(|word| *word = if *word < threshold { 0 } else { kept });
    }

    /// Softmax of each row of `p` (R, N), and the mean of the rows.
    fn softmax(p: &mut [f32], scores: &mut [f32]) {
        let rows = p.len() / scores.len();
        scores.fill(0.0);
        for row in p.chunks_exact_mut(scores.len()) {
            let most = largest(row);
            row.iter_mut().for_each(|v| *v = math::exp(*v - most));
            let inverse = (1.0 / sum(row, |v| v)) as f32;
            for (v, score) in row.iter_mut().zip(scores.iter_mut()) {
                *v *= inverse;
                *score += *v;
            }
        }
        let share = 1.0 / rows as f32;
        scores.iter_mut().for_each(|score| *score *= share);
    }

    /// `y *= x`
    fn multiply(y: &mut [f32], x: &[f32]) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y *= x);
    }

    /// From `ds = dz xᵀ` without mask to `p ∘ (dp − Σ p dp)` in place; p, ds: (R, N), dscores: (N).
    fn softmax_gradient(p: &[f32], ds: &mut [f32], dscores: &[f32]) {
        let share = dscores.len() as f32 / p.len() as f32;
        for (p, ds) in p.chunks_exact(dscores.len()).zip(ds.chunks_exact_mut(dscores.len())) {
            ds.iter_mut().zip(dscores).for_each(|(ds, &dscore)| *ds = dscore.mul_add(share, *ds));
            let mean = sums(p, ds, |p, dp| [p * dp])[0] as f32;
            ds.iter_mut().zip(p).for_each(|(ds, &p)| *ds = p * (*ds - mean));
        }
    }
}

impl CrossAttention {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let s = sizes(self, Self::NAME, ins)?;
        let (x, u, wv, wo) = (ins[0].f32()?, ins[1].f32()?, ins[2].f32()?, ins[3].f32()?);
        let Some((y, rest)) = outs.split_first_mut() else { return Ok(()) };
        let (mut own_z, kept);
        let (scores, p, z): (_, Option<&mut [f32]>, &mut [f32]) = match rest {
            [scores, p, z] => {
                kept = p;
                (scores.f32()?, Some(kept.f32()?), z.f32()?)
            }
            [scores, ..] => {
                own_z = Scratch::new(s.batch * s.rows() * s.features, Self::NAME)?;
                (scores.f32()?, None, &mut own_z)
            }
            [] => return Ok(()),
        };
        self.images(&s, (x, u), (scores, p, z))?;
        s.outputs((z, wv, wo), y.f32()?)
    }

    /// x: (B, N, D), u: (R, D) -> scores: (B, N), p: (B, R, N) unless nobody wants it, z: (B, R, D)
    fn images(
        &self,
        s: &Sizes,
        (x, u): (&[f32], &[f32]),
        (scores, p, z): (&mut [f32], Option<&mut [f32]>, &mut [f32]),
    ) -> Result<()> {
        if s.inputs == 0 {
            z.fill(0.0);
            return Ok(());
        }
        let (image, rows) = (s.inputs * s.features, s.rows());
        let least = run_length(s.batch, 2 * rows * image);
        let tasks = z.par_chunks_mut(rows * s.features).zip(scores.par_chunks_mut(s.inputs)).enumerate();
        let tasks = tasks.with_min_len(least);
        match p {
            Some(p) => tasks
                .zip(p.par_chunks_mut(rows * s.inputs))
                .try_for_each(|((b, (z, scores)), p)| self.image(s, b, (&x[b * image..], u), (scores, p, z))),
            None => tasks.try_for_each(|(b, (z, scores))| {
                let mut p = Scratch::new(rows * s.inputs, Self::NAME)?;
                self.image(s, b, (&x[b * image..], u), (scores, &mut p, z))
            }),
        }
    }

    /// One image: x: (N, D), u: (R, D) -> scores: (N), p: (R, N), z: (R, D)
    fn image(
        &self,
        s: &Sizes,
        b: usize,
        (x, u): (&[f32], &[f32]),
        (scores, p, z): (&mut [f32], &mut [f32], &mut [f32]),
    ) -> Result<()> {
        let threads = s.batch == 1;
        let logits = Product { threads, ..Product::new(s.rows(), s.features, s.inputs).b_transposed() };
        logits.run(u, x, p);
        softmax(p, scores);
        let sums = Product { threads, ..Product::new(s.rows(), s.inputs, s.features) };
        match self.dropout {
            None => sums.run(p, x, z),
            Some(dropout) => {
                let mut masked = Scratch::<f32>::new(p.len(), Self::NAME)?;
                draw(&dropout, b, &mut masked);
                multiply(&mut masked, p);
                sums.run(&masked, x, z);
            }
        }
        Ok(())
    }
}

impl Sizes {
    /// Rows of all images that belong to one head: B·T.
    fn head_rows(&self) -> usize {
        self.batch * self.queries
    }

    /// Copies the rows of head `h` between `z` (B, R, D), seen as (B, H, T, D), and `(B, T, D)`.
    fn head<'a>(&self, z: &'a [f32], h: usize) -> impl Iterator<Item = &'a [f32]> {
        let (run, image) = (self.queries * self.features, self.rows() * self.features);
        z.chunks_exact(image).map(move |z| &z[h * run..(h + 1) * run])
    }

    /// The rows of head `h` of all images, gathered from z (B, R, D): (B·T, D)
    fn gather(&self, op: &'static str, z: &[f32], h: usize) -> Result<Scratch<f32>> {
        let mut rows = Scratch::<f32>::new(self.head_rows() * self.features, op)?;
        for (to, from) in rows.chunks_exact_mut(self.queries * self.features).zip(self.head(z, h)) {
            to.copy_from_slice(from);
        }
        Ok(rows)
    }

    /// The heads' values: o (B·T, H·dv) from z (B, R, D) and wv (H·dv, D).
    fn values(&self, op: &'static str, z: &[f32], wv: &[f32]) -> Result<Scratch<f32>> {
        let (rows, values) = (self.head_rows(), self.heads * self.value);
        let mut by_head = Scratch::<f32>::new(rows * values, op)?;
        if rows == 0 {
            return Ok(by_head);
        }
        let product = Product::new(rows, self.features, self.value).b_transposed();
        let tasks = by_head.par_chunks_mut(rows * self.value).enumerate();
        tasks.with_min_len(run_length(self.heads, product.work())).try_for_each(|(h, o)| {
            product.run(&self.gather(op, z, h)?, &wv[h * self.value * self.features..], o);
            Ok(())
        })?;
        let mut o = Scratch::<f32>::new(rows * values, op)?;
        for (h, from) in by_head.chunks_exact(rows * self.value).enumerate() {
            for (row, from) in from.chunks_exact(self.value).enumerate() {
                o[row * values + h * self.value..][..self.value].copy_from_slice(from);
            }
        }
        Ok(o)
    }

    /// z: (B, R, D), wv: (H·dv, D), wo: (O, H·dv) -> y: (B, T, O)
    fn outputs(&self, (z, wv, wo): (&[f32], &[f32], &[f32]), y: &mut [f32]) -> Result<()> {
        let o = self.values(CrossAttention::NAME, z, wv)?;
        let product = Product::new(self.head_rows(), self.heads * self.value, self.outputs);
        product.b_transposed().threads().run(&o, wo, y);
        Ok(())
    }
}

/// What the gradient reads.
struct Given<'a> {
    /// (B, N, D)
    x: &'a [f32],
    /// (R, D)
    u: &'a [f32],
    /// (H·dv, D)
    wv: &'a [f32],
    /// (O, H·dv)
    wo: &'a [f32],
    /// (B, R, N)
    p: &'a [f32],
    /// (B, R, D)
    z: &'a [f32],
    /// (B, T, O)
    dy: &'a [f32],
    /// (B, N)
    dscores: &'a [f32],
}

impl CrossAttentionGrad {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let s = sizes(&self.attention, Self::NAME, ins)?;
        let [x, u, wv, wo, p, z, dy, dscores] = ins else {
            return Err(Error::argument(Self::NAME, "takes eight operands"));
        };
        let given = Given {
            x: x.f32()?,
            u: u.f32()?,
            wv: wv.f32()?,
            wo: wo.f32()?,
            p: p.f32()?,
            z: z.f32()?,
            dy: dy.f32()?,
            dscores: dscores.f32()?,
        };
        let mut outs = outs.iter_mut();
        let mut wanted = [None, None, None, None];
        for (to, _) in wanted.iter_mut().zip(self.wants).filter(|(_, want)| *want) {
            *to = outs.next().map(Out::f32).transpose()?;
        }
        let [dx, du, dwv, dwo] = wanted;
        let (rows, values) = (s.head_rows(), s.heads * s.value);
        if let Some(dwo) = dwo {
            let o = s.values(Self::NAME, given.z, given.wv)?;
            Product::new(s.outputs, rows, values).a_transposed().threads().run(given.dy, &o, dwo);
        }
        if dx.is_none() && du.is_none() && dwv.is_none() {
            return Ok(());
        }
        // do (B·T, H·dv) = dy · wo
        let mut d_o = Scratch::<f32>::new(rows * values, Self::NAME)?;
        Product::new(rows, s.outputs, values).threads().run(given.dy, given.wo, &mut d_o);
        let dz = heads(&s, &given, &d_o, dwv)?;
        if dx.is_some() || du.is_some() { self.images(&s, &given, &dz, dx, du) } else { Ok(()) }
    }

    /// dz: (H, B, T, D) -> dx: (B, N, D), du: (R, D), whichever is wanted
    fn images(
        &self,
        s: &Sizes,
        given: &Given,
        dz: &[f32],
        dx: Option<&mut [f32]>,
        du: Option<&mut [f32]>,
    ) -> Result<()> {
        let (image, own) = (s.inputs * s.features, s.rows() * s.features);
        if s.batch == 0 || s.inputs == 0 {
            du.into_iter().for_each(|du| du.fill(0.0));
            return Ok(());
        }
        let (mut no_dx, mut no_du) = (Vec::new(), Scratch::<f32>::new(0, Self::NAME)?);
        let dx: Vec<Option<&mut [f32]>> = match dx {
            Some(dx) => dx.chunks_exact_mut(image).map(Some).collect(),
            None => {
                no_dx.resize_with(s.batch, || None);
                no_dx
            }
        };
        if du.is_some() {
            no_du = Scratch::new(s.batch * own, Self::NAME)?;
        }
        let mut parts: Vec<Option<&mut [f32]>> = match du {
            Some(_) => no_du.chunks_exact_mut(own).map(Some).collect(),
            None => (0..s.batch).map(|_| None).collect(),
        };
        let least = run_length(s.batch, 4 * s.rows() * image);
        let tasks = dx.into_par_iter().zip(parts.par_iter_mut()).enumerate().with_min_len(least);
        tasks.try_for_each(|(b, (dx, part))| self.image(s, b, given, dz, dx, part.as_deref_mut()))?;
        drop(parts);
        if let Some(du) = du {
            du.fill(0.0);
            for part in no_du.chunks_exact(own) {
                du.iter_mut().zip(part).for_each(|(du, part)| *du += part);
            }
        }
        Ok(())
    }

    /// One image. dz: (H, B, T, D) -> dx: (N, D) and its share of du: (R, D)
    fn image(
        &self,
        s: &Sizes,
        b: usize,
        given: &Given,
        dz: &[f32],
        dx: Option<&mut [f32]>,
        du: Option<&mut [f32]>,
    ) -> Result<()> {
        let (n, d, rows) = (s.inputs, s.features, s.rows());
        let (x, p) = (&given.x[b * n * d..][..n * d], &given.p[b * rows * n..][..rows * n]);
        let threads = s.batch == 1;
        // Behind each other, so that dx is one product: [p̃; ds] (2R, N) and [dz; u] (2R, D).
        let mut weights = Scratch::<f32>::new(2 * rows * n, Self::NAME)?;
        let mut vectors = Scratch::<f32>::new(2 * rows * d, Self::NAME)?;
        let (masked, ds) = weights.split_at_mut(rows * n);
        let (own_dz, own_u) = vectors.split_at_mut(rows * d);
        for (h, to) in own_dz.chunks_exact_mut(s.queries * d).enumerate() {
            to.copy_from_slice(&dz[(h * s.batch + b) * s.queries * d..][..s.queries * d]);
        }
        own_u.copy_from_slice(given.u);
        Product { threads, ..Product::new(rows, d, n).b_transposed() }.run(own_dz, x, ds);
        match self.attention.dropout {
            None => masked.copy_from_slice(p),
            Some(dropout) => {
                draw(&dropout, b, masked);
                multiply(ds, masked);
                multiply(masked, p);
            }
        }
        softmax_gradient(p, ds, &given.dscores[b * n..(b + 1) * n]);
        if let Some(du) = du {
            Product { threads, ..Product::new(rows, n, d) }.run(ds, x, du);
        }
        if let Some(dx) = dx {
            let product = Product::new(n, 2 * rows, d).a_transposed();
            Product { threads, ..product }.run(&weights, &vectors, dx);
        }
        Ok(())
    }
}

/// d_o: (B·T, H·dv) -> dz: (H, B, T, D), and dwv: (H·dv, D) if it is wanted
fn heads(s: &Sizes, given: &Given, d_o: &[f32], dwv: Option<&mut [f32]>) -> Result<Scratch<f32>> {
    const OP: &str = CrossAttentionGrad::NAME;
    let (rows, values, d) = (s.head_rows(), s.heads * s.value, s.features);
    let mut dz = Scratch::<f32>::new(s.heads * rows * d, OP)?;
    if rows == 0 {
        dwv.into_iter().for_each(|dwv| dwv.fill(0.0));
        return Ok(dz);
    }
    let to_z = Product { a: [values, 1], ..Product::new(rows, s.value, d) };
    let to_weight = Product { a: [1, values], ..Product::new(s.value, rows, d) };
    let least = run_length(s.heads, 2 * to_z.work());
    let tasks = dz.par_chunks_mut(rows * d).enumerate().with_min_len(least);
    let one = |h: usize, dz: &mut [f32]| {
        to_z.run(&d_o[h * s.value..], &given.wv[h * s.value * d..], dz);
    };
    match dwv {
        None => tasks.for_each(|(h, dz)| one(h, dz)),
        Some(dwv) => tasks.zip(dwv.par_chunks_mut(s.value * d)).try_for_each(|((h, dz), dwv)| {
            one(h, dz);
            to_weight.run(&d_o[h * s.value..], &s.gather(OP, given.z, h)?, dwv);
            Ok(())
        })?,
    }
    Ok(dz)
}
