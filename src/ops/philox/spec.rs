//! Philox4x32-10 as its paper writes it, apart from the crate's other implementations.

use crate::spec::{In, Out, Real};

/// counter: (n, 4), key: (n, 2) -> words: (n, 4)
pub(super) fn philox<T: Real>(counter: &In<T>, key: &In<T>, words: &mut Out<T>) {
    for i in 0..counter.dims[0] {
        let mut c: [u32; 4] = std::array::from_fn(|j| counter.int[4 * i + j] as u32);
        let mut k: [u32; 2] = std::array::from_fn(|j| key.int[2 * i + j] as u32);
        for _ in 0..10 {
            let product_0 = 0xD251_1F53 * u64::from(c[0]);
            let product_1 = 0xCD9E_8D57 * u64::from(c[2]);
            let high = |product: u64| (product >> 32) as u32;
            c = [
                high(product_1) ^ c[1] ^ k[0],
                product_1 as u32,
                high(product_0) ^ c[3] ^ k[1],
                product_0 as u32,
            ];
            k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
        }
        for (j, word) in c.into_iter().enumerate() {
            words.int[4 * i + j] = i64::from(word);
        }
    }
}
