//! Batch normalisation on the CPU.
//!
//! Tasks are runs of whole images, read in the order of memory. Statistics take two passes over each run while it is in
//! cache (mean, then squared deviations from it), and runs are combined in `f64` in a fixed order (Chan, Golub and
//! LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979).
//!
//! A channel's plane is the inner loop where it is long enough. Small planes would leave vectors unfilled, so there a
//! whole image is one row and the numbers of each channel are repeated over its plane.

use super::{
    BatchNorm, BatchNormApply, BatchNormConfig, BatchNormEval, BatchNormGrad, BatchNormGradApply,
    BatchNormGradSums, BatchNormStatistics, Sizes,
};
use crate::{
    cpu::{
        In, Out, Scratch,
        parallel::{in_chunks, rows_per_task},
        simd::{self, vectorised},
    },
    error::Result,
    ops::elementwise::relu_f32,
};

/// Elements of a task.
const TASK: usize = 64 * 1024;
/// Planes of fewer elements are handled as parts of a row.
const SMALL_PLANE: usize = 128;
/// Rows added up in `f32` before the sums move to `f64`.
const ROWS: usize = 64;

impl Sizes {
    /// Elements of an image.
    fn row(&self) -> usize {
        self.channels * self.plane
    }

    fn by_rows(&self) -> bool {
        self.plane < SMALL_PLANE
    }

    fn elements(&self) -> usize {
        self.batch * self.row()
    }

    /// Images of a task.
    fn images(&self) -> usize {
        rows_per_task(self.batch, self.row(), TASK)
    }
}

/// `N` numbers for each element of a row: the same throughout a plane, or a row of each.
trait Numbers<const N: usize>: Copy {
    /// For a row of `len` elements; tells the compiler that they suffice.
    fn cut(self, len: usize) -> Self;
    /// The numbers of element `i`.
    fn at(&self, i: usize) -> [f32; N];
}

impl<const N: usize> Numbers<N> for [f32; N] {
    #[inline(always)]
    fn cut(self, _: usize) -> Self {
        self
    }
    #[inline(always)]
    fn at(&self, _: usize) -> [f32; N] {
        *self
    }
}

impl<const N: usize> Numbers<N> for [&[f32]; N] {
    #[inline(always)]
    fn cut(self, len: usize) -> Self {
        let mut cut = self;
        for numbers in &mut cut {
            *numbers = &numbers[..len];
        }
        cut
    }
    #[inline(always)]
    fn at(&self, i: usize) -> [f32; N] {
        let mut at = [0.0; N];
        for n in 0..N {
            at[n] = self[n][i];
        }
        at
    }
}

vectorised! {
    fn plane_sum(x: &[f32]) -> f64 {
        simd::sum(x, |x| x)
    }
    fn plane_squares(x: &[f32], mean: f32) -> f64 {
        simd::sum(x, |x| (x - mean) * (x - mean))
    }
    fn row_sums(x: &[f32], sums: &mut [f32]) {
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum += x;
        }
    }
    fn row_squares(x: &[f32], mean: &[f32], sums: &mut [f32]) {
        for ((sum, x), mean) in sums.iter_mut().zip(x).zip(mean) {
            *sum += (x - mean) * (x - mean);
        }
    }
    /// Numbers: mean, scale, bias.
    fn normalise[P: Numbers<3>; RELU: bool, ADD: bool](x: &[f32], residual: &[f32], numbers: P, y: &mut [f32]) {
        let n = y.len();
        let (x, residual, numbers) = (&x[..n], if ADD { &residual[..n] } else { &x[..n] }, numbers.cut(n));
        for i in 0..n {
            let v = normalised(x[i], numbers.at(i));
            let v = if ADD { v + residual[i] } else { v };
            y[i] = if RELU { relu_f32(v) } else { v };
        }
    }
    /// Σ g and Σ g (x − mean). Numbers: mean, scale, bias.
    fn plane_grad_sums[; RELU: bool](dy: &[f32], x: &[f32], numbers: [f32; 3]) -> [f64; 2] {
        simd::sums(dy, x, |dy, x| {
            let g = passed::<RELU>(dy, x, numbers);
            [g, g * (x - numbers[0])]
        })
    }
    /// Adds g to `first` and g (x − mean) to `second`. Numbers: mean, scale, bias.
    fn row_grad_sums[; RELU: bool](dy: &[f32], x: &[f32], numbers: [&[f32]; 3], first: &mut [f32], second: &mut [f32]) {
        let n = dy.len();
        let (x, numbers, first, second) = (&x[..n], numbers.cut(n), &mut first[..n], &mut second[..n]);
        for i in 0..n {
            let of = numbers.at(i);
            let g = passed::<RELU>(dy[i], x[i], of);
            first[i] += g;
            second[i] += g * (x[i] - of[0]);
        }
    }
    /// Numbers: mean, scale, bias, and what g, x − mean and 1 are multiplied by.
    fn input_grad[P: Numbers<6>; RELU: bool](dy: &[f32], x: &[f32], numbers: P, dx: &mut [f32]) {
        let n = dx.len();
        let (dy, x, numbers) = (&dy[..n], &x[..n], numbers.cut(n));
        for i in 0..n {
            let [mean, scale, bias, of_g, of_x, of_one] = numbers.at(i);
            let g = passed::<RELU>(dy[i], x[i], [mean, scale, bias]);
            dx[i] = g.mul_add(of_g, (x[i] - mean).mul_add(of_x, of_one));
        }
    }
}

/// The normalised value. Forward and backward share it, so that they agree on what a ReLU blocks.
#[inline(always)]
fn normalised(x: f32, [mean, scale, bias]: [f32; 3]) -> f32 {
    (x - mean).mul_add(scale, bias)
}

/// `dy` where the ReLU, if there is one, let the normalised value through.
#[inline(always)]
fn passed<const RELU: bool>(dy: f32, x: f32, numbers: [f32; 3]) -> f32 {
    if RELU && normalised(x, numbers) <= 0.0 { 0.0 } else { dy }
}

/// Number, mean and sum of squared deviations of a set of values.
#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// Those of the union.
    fn join(self, other: Moments) -> Moments {
        if self.count == 0.0 {
            return other;
        }
        let (count, delta) = (self.count + other.count, other.mean - self.mean);
        Moments {
            count,
            mean: self.mean + delta * other.count / count,
            squares: self.squares + other.squares + delta * delta * self.count * other.count / count,
        }
    }
}

/// The moments of every channel of x (batch, channels, plane).
fn moments(x: &[f32], sizes: Sizes) -> Result<Vec<Moments>> {
    let run = sizes.images() * sizes.row();
    let tasks = x.len().div_ceil(run.max(1));
    let mut parts = vec![Moments::default(); tasks * sizes.channels];
    in_chunks(&mut parts, sizes.channels, |task, parts| {
        let x = &x[task * run..x.len().min((task + 1) * run)];
        if sizes.by_rows() { row_moments(x, sizes, parts) } else { plane_moments(x, sizes, parts) }
    })?;
    let mut all = vec![Moments::default(); sizes.channels];
    for parts in parts.chunks(sizes.channels.max(1)) {
        all.iter_mut().zip(parts).for_each(|(all, part)| *all = all.join(*part));
    }
    Ok(all)
}

/// The moments of some images, plane by plane.
fn plane_moments(x: &[f32], sizes: Sizes, out: &mut [Moments]) -> Result<()> {
    for (c, out) in out.iter_mut().enumerate() {
        let planes = || x.chunks(sizes.plane).skip(c).step_by(sizes.channels);
        let count = (planes().count() * sizes.plane) as f64;
        let mean = planes().map(plane_sum).sum::<f64>() / count;
        let squares = planes().map(|plane| plane_squares(plane, mean as f32)).sum();
        *out = Moments { count, mean, squares };
    }
    Ok(())
}

/// The moments of some images, row by row.
fn row_moments(x: &[f32], sizes: Sizes, out: &mut [Moments]) -> Result<()> {
    let (row, plane) = (sizes.row(), sizes.plane);
    let mut work = Scratch::<f32>::new(2 * row, "batch_norm")?;
    let (sums, means) = work.split_at_mut(row);
    for x in x.chunks(ROWS * row) {
        let count = (x.len() / sizes.channels) as f64;
        sums.fill(0.0);
        x.chunks(row).for_each(|x| row_sums(x, sums));
        let mean_of = |sums: &[f32]| plane_sum(sums) / count;
        for (sums, means) in sums.chunks(plane).zip(means.chunks_mut(plane)) {
            means.fill(mean_of(sums) as f32);
        }
        let exact: Vec<f64> = sums.chunks(plane).map(mean_of).collect();
        sums.fill(0.0);
        x.chunks(row).for_each(|x| row_squares(x, means, sums));
        for ((out, sums), mean) in out.iter_mut().zip(sums.chunks(plane)).zip(exact) {
            *out = out.join(Moments { count, mean, squares: plane_sum(sums) });
        }
    }
    Ok(())
}

/// `N` numbers per channel, each repeated over the channel's plane: `N` rows of an image's length.
fn repeated<const N: usize>(per_channel: &[[f32; N]], plane: usize) -> Result<Scratch<f32>> {
    let row = per_channel.len() * plane;
    let mut rows = Scratch::<f32>::new(N * row, "batch_norm")?;
    for (n, rows) in rows.chunks_mut(row.max(1)).enumerate() {
        for (to, from) in rows.chunks_mut(plane).zip(per_channel) {
            to.fill(from[n]);
        }
    }
    Ok(rows)
}

/// The `N` rows that [`repeated`] made.
fn rows<const N: usize>(rows: &[f32], row: usize) -> [&[f32]; N] {
    std::array::from_fn(|n| &rows[n * row..(n + 1) * row])
}

/// `y = normalised(x) [+ residual]`, rectified if asked for; three numbers per channel: mean, scale, bias.
fn apply<const RELU: bool, const ADD: bool>(
    x: &[f32],
    residual: &[f32],
    numbers: &[[f32; 3]],
    sizes: Sizes,
    y: &mut [f32],
) -> Result<()> {
    let (row, plane) = (sizes.row(), sizes.plane);
    let run = sizes.images() * row;
    let residual_of = |start: usize| if ADD { &residual[start..] } else { &[] };
    if sizes.by_rows() {
        let repeated = repeated(numbers, plane)?;
        let numbers = rows(&repeated, row);
        return in_chunks(y, run, |task, y| {
            for (image, y) in y.chunks_mut(row).enumerate() {
                let start = task * run + image * row;
                normalise::<[&[f32]; 3], RELU, ADD>(&x[start..], residual_of(start), numbers, y);
            }
            Ok(())
        });
    }
    in_chunks(y, run, |task, y| {
        for (p, y) in y.chunks_mut(plane).enumerate() {
            let start = task * run + p * plane;
            let numbers = numbers[p % sizes.channels];
            normalise::<[f32; 3], RELU, ADD>(&x[start..], residual_of(start), numbers, y);
        }
        Ok(())
    })
}

/// Normalises `ins[0]`, with `ins[5]` as residual if it is there.
fn forward(relu: bool, ins: &[In], mean: &[f32], inv_std: &[f32], y: &mut [f32]) -> Result<()> {
    let sizes = Sizes::of(ins[0].dims);
    let numbers = numbers(mean, inv_std, ins[1].f32()?, ins[2].f32()?);
    let x = ins[0].f32()?;
    if x.is_empty() {
        return Ok(());
    }
    match (relu, ins.get(5)) {
        (false, None) => apply::<false, false>(x, &[], &numbers, sizes, y),
        (true, None) => apply::<true, false>(x, &[], &numbers, sizes, y),
        (false, Some(residual)) => apply::<false, true>(x, residual.f32()?, &numbers, sizes, y),
        (true, Some(residual)) => apply::<true, true>(x, residual.f32()?, &numbers, sizes, y),
    }
}

/// Mean, scale and bias of each channel.
fn numbers(mean: &[f32], inv_std: &[f32], weight: &[f32], bias: &[f32]) -> Vec<[f32; 3]> {
    (0..mean.len()).map(|c| [mean[c], weight[c] * inv_std[c], bias[c]]).collect()
}

/// x, running mean and variance -> running mean and variance, mean, inverse deviation
fn statistics(config: &BatchNormConfig, [x, old_mean, old_var]: [&In; 3], outs: &mut [Out]) -> Result<()> {
    let [new_mean, new_var, mean, inv_std] = outs else { return Ok(()) };
    let moments = moments(x.f32()?, Sizes::of(x.dims))?;
    let (old_mean, old_var) = (old_mean.f32()?, old_var.f32()?);
    let (new_mean, new_var) = (new_mean.f32()?, new_var.f32()?);
    let (mean, inv_std) = (mean.f32()?, inv_std.f32()?);
    let moved = |old: f32, to: f64| ((1.0 - config.momentum) * f64::from(old) + config.momentum * to) as f32;
    for (c, m) in moments.iter().enumerate() {
        mean[c] = m.mean as f32;
        inv_std[c] = (1.0 / (m.squares / m.count + config.eps).sqrt()) as f32;
        new_mean[c] = moved(old_mean[c], m.mean);
        new_var[c] = moved(old_var[c], m.squares / (m.count - 1.0));
    }
    Ok(())
}

impl BatchNorm {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let [y, rest @ ..] = outs else { return Ok(()) };
        statistics(&self.0, [&ins[0], &ins[3], &ins[4]], rest)?;
        let [_, _, mean, inv_std] = rest else { return Ok(()) };
        forward(self.0.relu, ins, mean.f32()?, inv_std.f32()?, y.f32()?)
    }
}

impl BatchNormStatistics {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        statistics(&self.0, [&ins[0], &ins[1], &ins[2]], outs)
    }
}

impl BatchNormApply {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        forward(self.relu, ins, ins[3].f32()?, ins[4].f32()?, outs[0].f32()?)
    }
}

impl BatchNormEval {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let [y, inv_std] = outs else { return Ok(()) };
        let inv_std = inv_std.f32()?;
        for (inv_std, &var) in inv_std.iter_mut().zip(ins[4].f32()?) {
            *inv_std = (1.0 / (f64::from(var) + self.0.eps).sqrt()) as f32;
        }
        forward(self.0.relu, ins, ins[3].f32()?, inv_std, y.f32()?)
    }
}

/// dy, x, weight, bias, mean, inverse deviation, as far as the gradients need them.
struct GradOperands<'a> {
    dy: &'a [f32],
    x: &'a [f32],
    weight: &'a [f32],
    inv_std: &'a [f32],
    /// Mean, scale and bias of each channel.
    three: Vec<[f32; 3]>,
    sizes: Sizes,
}

impl<'a> GradOperands<'a> {
    fn of(ins: &'a [In]) -> Result<Self> {
        let (weight, inv_std) = (ins[2].f32()?, ins[5].f32()?);
        Ok(GradOperands {
            dy: ins[0].f32()?,
            x: ins[1].f32()?,
            weight,
            inv_std,
            three: numbers(ins[4].f32()?, inv_std, weight, ins[3].f32()?),
            sizes: Sizes::of(ins[1].dims),
        })
    }

    /// dbias and dweight of each channel.
    fn sums(&self, relu: bool) -> Result<Vec<[f64; 2]>> {
        if self.x.is_empty() {
            return Ok(vec![[0.0; 2]; self.three.len()]);
        }
        let of = if relu { grad_sums::<true> } else { grad_sums::<false> };
        let mut sums = of(self.dy, self.x, &self.three, self.sizes)?;
        sums.iter_mut().zip(self.inv_std).for_each(|(sum, inv)| sum[1] *= f64::from(*inv));
        Ok(sums)
    }

    /// dx; so great a share of the sums goes through the statistics.
    fn apply(&self, relu: bool, sums: &[[f64; 2]], share: f64, dx: &mut [f32]) -> Result<()> {
        if self.x.is_empty() {
            return Ok(());
        }
        let channel = |(c, [sum, product]): (usize, &[f64; 2])| {
            let inv = f64::from(self.inv_std[c]);
            let of_g = f64::from(self.weight[c]) * inv;
            let [mean, scale, bias] = self.three[c];
            let (of_x, of_one) = (-of_g * share * product * inv, -of_g * share * sum);
            [mean, scale, bias, of_g as f32, of_x as f32, of_one as f32]
        };
        let six: Vec<[f32; 6]> = sums.iter().enumerate().map(channel).collect();
        let of = if relu { apply_grad::<true> } else { apply_grad::<false> };
        of(self.dy, self.x, &six, self.sizes, dx)
    }
}

/// Writes dweight and dbias.
fn write_sums(sums: &[[f64; 2]], dweight: &mut [f32], dbias: &mut [f32]) {
    for ((sum, dweight), dbias) in sums.iter().zip(dweight).zip(dbias) {
        (*dbias, *dweight) = (sum[0] as f32, sum[1] as f32);
    }
}

impl BatchNormGrad {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let [dx, dweight, dbias] = outs else { return Ok(()) };
        let of = GradOperands::of(ins)?;
        let sums = of.sums(self.relu)?;
        write_sums(&sums, dweight.f32()?, dbias.f32()?);
        let share = if self.training { 1.0 / (of.sizes.batch * of.sizes.plane) as f64 } else { 0.0 };
        of.apply(self.relu, &sums, share, dx.f32()?)
    }
}

impl BatchNormGradSums {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let [dweight, dbias] = outs else { return Ok(()) };
        write_sums(&GradOperands::of(ins)?.sums(self.relu)?, dweight.f32()?, dbias.f32()?);
        Ok(())
    }
}

impl BatchNormGradApply {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let (dweight, dbias) = (ins[6].f32()?, ins[7].f32()?);
        let sums: Vec<[f64; 2]> = dbias.iter().zip(dweight).map(|(b, w)| [*b, *w].map(f64::from)).collect();
        GradOperands::of(ins)?.apply(self.relu, &sums, self.share(), outs[0].f32()?)
    }
}

/// Σ g and Σ g (x − mean) of every channel.
fn grad_sums<const RELU: bool>(
    dy: &[f32],
    x: &[f32],
    numbers: &[[f32; 3]],
    sizes: Sizes,
) -> Result<Vec<[f64; 2]>> {
    let (row, plane, channels) = (sizes.row(), sizes.plane, sizes.channels);
    let run = sizes.images() * row;
    let mut parts = vec![[0.0; 2]; sizes.elements().div_ceil(run.max(1)) * channels];
    let repeated =
        if sizes.by_rows() { repeated(numbers, plane)? } else { Scratch::new(0, "batch_norm_grad")? };
    in_chunks(&mut parts, channels, |task, parts| {
        let part = task * run..x.len().min((task + 1) * run);
        let (dy, x) = (&dy[part.clone()], &x[part]);
        if sizes.by_rows() {
            let mut work = Scratch::<f32>::new(2 * row, "batch_norm_grad")?;
            let (first, second) = work.split_at_mut(row);
            for (dy, x) in dy.chunks(ROWS * row).zip(x.chunks(ROWS * row)) {
                first.fill(0.0);
                second.fill(0.0);
                for (dy, x) in dy.chunks(row).zip(x.chunks(row)) {
                    row_grad_sums::<RELU>(dy, x, rows(&repeated, row), first, second);
                }
                for (c, part) in parts.iter_mut().enumerate() {
                    part[0] += plane_sum(&first[c * plane..(c + 1) * plane]);
                    part[1] += plane_sum(&second[c * plane..(c + 1) * plane]);
                }
            }
        } else {
            for (p, (dy, x)) in dy.chunks(plane).zip(x.chunks(plane)).enumerate() {
                let sums = plane_grad_sums::<RELU>(dy, x, numbers[p % channels]);
                parts[p % channels].iter_mut().zip(sums).for_each(|(part, sum)| *part += sum);
            }
        }
        Ok(())
    })?;
    let mut all = vec![[0.0; 2]; channels];
    for parts in parts.chunks(channels.max(1)) {
        for (all, part) in all.iter_mut().zip(parts) {
            (all[0], all[1]) = (all[0] + part[0], all[1] + part[1]);
        }
    }
    Ok(all)
}

/// `dx` from six numbers per channel.
fn apply_grad<const RELU: bool>(
    dy: &[f32],
    x: &[f32],
    numbers: &[[f32; 6]],
    sizes: Sizes,
    dx: &mut [f32],
) -> Result<()> {
    let (row, plane) = (sizes.row(), sizes.plane);
    let run = sizes.images() * row;
    if sizes.by_rows() {
        let repeated = repeated(numbers, plane)?;
        let numbers = rows(&repeated, row);
        return in_chunks(dx, run, |task, dx| {
            for (image, dx) in dx.chunks_mut(row).enumerate() {
                let start = task * run + image * row;
                input_grad::<[&[f32]; 6], RELU>(&dy[start..], &x[start..], numbers, dx);
            }
            Ok(())
        });
    }
    in_chunks(dx, run, |task, dx| {
        for (p, dx) in dx.chunks_mut(plane).enumerate() {
            let start = task * run + p * plane;
            input_grad::<[f32; 6], RELU>(&dy[start..], &x[start..], numbers[p % sizes.channels], dx);
        }
        Ok(())
    })
}
