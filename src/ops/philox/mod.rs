//! Random words of Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) on a device.
//!
//! `words[i] = philox(counter[i], key[i])`, four words from four. The generator has no state, so every device computes
//! the same words in any order; see [`crate::rng`].

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod spec;
#[cfg(test)]
mod tests;
#[cfg(feature = "wgpu")]
mod wgpu;

use crate::{
    DType, Device,
    device::{Meta, Metas, Op, run1},
    error::{Error, Result},
    ops::{axes, check_dtypes},
    rng::{Rng, Words},
    spec::{In, Out, Real},
    tensor::Tensor,
};
use smallvec::smallvec;

/// Counters (n, 4) and keys (n, 2), u32, to words (n, 4), u32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Philox;

impl Op for Philox {
    const NAME: &'static str = "philox";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::U32; 2])?;
        let [n, four] = axes(Self::NAME, "the counter", &ins[0], "(n, 4)")?;
        let [keys, two] = axes(Self::NAME, "the key", &ins[1], "(n, 2)")?;
        if (four, two) != (4, 2) || n != keys {
            let what = format!("counter {} and key {} must be (n, 4) and (n, 2)", ins[0].dims, ins[1].dims);
            return Err(Error::shape(Self::NAME, what));
        }
        Ok(smallvec![Meta::new([n, 4], DType::U32)])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        spec::philox(&ins[0], &ins[1], &mut outs[0]);
    }
}

/// The first `count` words of a stretch, u32. Its one operand, the key (2) as u32, says on which device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandomWords {
    /// Counter of the first block.
    pub first: u64,
    /// How many words.
    pub count: usize,
}

impl Op for RandomWords {
    const NAME: &'static str = "random_words";
    crate::arms!(cpu, wgpu, cuda);

    fn infer(&self, ins: &[Meta]) -> Result<Metas> {
        check_dtypes(Self::NAME, ins, &[DType::U32])?;
        if *ins[0].dims != [2] {
            return Err(Error::shape(Self::NAME, format!("a key of shape {}, must be [2]", ins[0].dims)));
        }
        Ok(smallvec![Meta::new([self.count], DType::U32)])
    }

    fn spec<T: Real>(&self, ins: &[In<T>], outs: &mut [Out<T>]) {
        let words = Words { key: [ins[0].int[0] as u32, ins[0].int[1] as u32], first: self.first };
        outs[0].int.iter_mut().zip(0..).for_each(|(to, at)| *to = i64::from(words.word(at)));
    }
}

/// Philox4x32-10 of counters (n, 4) and keys (n, 2), both u32: words (n, 4), u32. No gradient.
///
/// ```
/// use foveate::{Device, Tensor, ops};
/// # fn main() -> foveate::Result<()> {
/// let counter = Tensor::from_slice(&[0_u32; 4], [1, 4], &Device::Cpu)?;
/// let key = Tensor::from_slice(&[0_u32; 2], [1, 2], &Device::Cpu)?;
/// let words = ops::philox(&counter, &key)?.to_vec::<u32>()?;
/// assert_eq!(words, [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
/// # Ok(()) }
/// ```
pub fn philox(counter: &Tensor, key: &Tensor) -> Result<Tensor> {
    run1(&Philox, &[counter, key])
}

/// `count` random words of `rng` as a tensor (count), u32, on `device`: the same words on every device. The stream moves
/// on by as many words, rounded up to whole blocks of four.
///
/// ```
/// use foveate::{Device, Rng, ops};
/// # fn main() -> foveate::Result<()> {
/// let words = ops::random_words(5, &mut Rng::new(7), &Device::Cpu)?.to_vec::<u32>()?;
/// let mut rng = Rng::new(7);
/// assert!(words.iter().all(|&word| word == rng.next_u32()));
/// # Ok(()) }
/// ```
pub fn random_words(count: usize, rng: &mut Rng, device: &Device) -> Result<Tensor> {
    let words = rng.reserve(count as u64);
    let key = Tensor::from_slice(&words.key, [2], device)?;
    run1(&RandomWords { first: words.first, count }, &[&key])
}
