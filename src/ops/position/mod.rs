//! Positional encodings: `p[i, 2j] = sin(n_i · 10000^(−2j/D))`, `p[i, 2j+1] = cos(n_i · 10000^(−2j/D))` for position `n_i`
//! (Vaswani et al., 2017), over the row-major index of a patch in its grid.

#[cfg(test)]
mod tests;

use crate::{
    Device, Tensor, cpu,
    error::{Error, Result},
    host,
};

/// Encodings (P, D) of the positions `n`, P of them, on `device`. Angles are computed in `f64`, so that positions up to
/// millions are right to `f32`.
///
/// ```
/// use foveate::{Device, ops};
/// # fn main() -> foveate::Result<()> {
/// let p = ops::positional_encoding(&[0, 1], 4, &Device::Cpu)?.to_vec::<f32>()?;
/// assert_eq!(p[..4], [0.0, 1.0, 0.0, 1.0]);
/// assert_eq!(p[4], 1.0_f32.sin());
/// # Ok(()) }
/// ```
pub fn positional_encoding(n: &[u32], features: usize, device: &Device) -> Result<Tensor> {
    if features == 0 {
        return Err(Error::argument("positional_encoding", "features must be at least 1"));
    }
    let encoding = encoded(n, features, features)?;
    Tensor::from_slice(&encoding, [n.len(), features], device)
}

/// Encodings of the positions `n`, in rows of `size` numbers: `features`, or more, which go on in the same way.
pub(crate) fn encoded(n: &[u32], features: usize, size: usize) -> Result<cpu::Scratch<f32>> {
    let rate = |d: usize| 10_000_f64.powf(-((d / 2 * 2) as f64) / features as f64);
    let rates = host::made(size, "positional_encoding", rate)?;
    let mut encoding = cpu::Scratch::<f32>::new(n.len().saturating_mul(size), "positional_encoding")?;
    for (row, &n) in encoding.chunks_mut(size.max(1)).zip(n) {
        for (d, (to, rate)) in row.iter_mut().zip(&rates).enumerate() {
            let angle = f64::from(n) * rate;
            *to = if d % 2 == 0 { angle.sin() } else { angle.cos() } as f32;
        }
    }
    Ok(encoding)
}
