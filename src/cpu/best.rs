//! The best few of many values that come along one after another, in a total order: larger values first, of equal values
//! the one that stands earlier, and NaN behind every number. Whatever the order they come in, the outcome is the same.

use super::Scratch;
use crate::error::Result;

/// The key of a value and its place: larger is better.
#[inline(always)]
pub(crate) fn key(value: f32, place: u32) -> u64 {
    // Adding zero makes −0 and +0 the same; flipping bits makes the order of floats that of integers.
    let bits = (value + 0.0).to_bits();
    let ordered = bits ^ if bits >> 31 == 0 { 0x8000_0000 } else { 0xFFFF_FFFF };
    let ordered = if value.is_nan() { 0 } else { ordered };
    u64::from(ordered) << 32 | u64::from(!place)
}

/// The place in a key.
pub(crate) fn place(key: u64) -> u32 {
    !(key as u32)
}

/// The value in a key.
pub(crate) fn value(key: u64) -> f32 {
    let ordered = (key >> 32) as u32;
    match ordered {
        0 => f32::NAN,
        _ if ordered >> 31 == 0 => f32::from_bits(!ordered),
        _ => f32::from_bits(ordered ^ 0x8000_0000),
    }
}

/// Keeps the `wanted` best keys offered.
pub(crate) struct Best {
    wanted: usize,
    /// Candidates, of which the first `wanted` are the best up to the last cut.
    keys: Scratch<u64>,
    len: usize,
    /// Key of the worst that is kept; whoever is below need not be offered.
    floor: u64,
}

impl Best {
    /// For the `wanted` best, at least one.
    pub(crate) fn new(wanted: usize, op: &'static str) -> Result<Self> {
        // Room for few makes the floor rise often, room for a share of them makes cuts rare.
        let room = wanted + (wanted / 2).max(8);
        Ok(Best { wanted, keys: Scratch::new(room, op)?, len: 0, floor: 0 })
    }

    /// Forgets all keys.
    pub(crate) fn clear(&mut self) {
        (self.len, self.floor) = (0, 0);
    }

    /// Values below this one cannot be among the best any more; NaN if anything can.
    #[inline(always)]
    pub(crate) fn floor(&self) -> f32 {
        value(self.floor)
    }

    /// Takes a key if it may be among the best.
    #[inline(always)]
    pub(crate) fn offer(&mut self, key: u64) {
        if key > self.floor {
            self.push(key);
        }
    }

    fn push(&mut self, key: u64) {
        if self.len == self.keys.len() {
            self.cut();
            if key <= self.floor {
                return;
            }
        }
        self.keys[self.len] = key;
        self.len += 1;
    }

    /// Drops all but the best.
    fn cut(&mut self) {
        if self.len >= self.wanted {
            let (_, worst, _) =
                self.keys[..self.len].select_nth_unstable_by(self.wanted - 1, |a, b| b.cmp(a));
            self.floor = *worst;
            self.len = self.wanted;
        }
    }

    /// The best keys, in no order; fewer than wanted if fewer were offered.
    pub(crate) fn unordered(&mut self) -> &mut [u64] {
        self.cut();
        &mut self.keys[..self.len]
    }

    /// The best keys, best first.
    pub(crate) fn ordered(&mut self) -> &[u64] {
        let keys = self.unordered();
        keys.sort_unstable_by(|a, b| b.cmp(a));
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_values_and_places() {
        let values = [f32::NAN, f32::NEG_INFINITY, -3.0, -1e-40, 0.0, 1e-40, 2.0, f32::INFINITY];
        for pair in values.windows(2) {
            assert!(key(pair[0], 0) < key(pair[1], 9), "{pair:?}");
        }
        assert_eq!(key(-0.0, 3), key(0.0, 3));
        assert!(key(1.0, 3) > key(1.0, 4) && key(-f32::NAN, 3) > key(f32::NAN, 4));
        for v in values {
            assert_eq!(value(key(v, 7)).to_bits() & 0x7FFF_FFFF, v.to_bits() & 0x7FFF_FFFF);
            assert_eq!(place(key(v, 7)), 7);
        }
    }

    #[test]
    fn the_best_of_a_stream() {
        let mut rng = crate::Rng::new(2);
        for (n, wanted) in [(1, 1), (10, 3), (1000, 1), (1000, 40), (5000, 700), (20, 30)] {
            let keys: Vec<u64> = (0..n).map(|at| key(rng.below(200) as f32, at)).collect();
            let mut best = Best::new(wanted, "a test").unwrap();
            for round in 0..2 {
                keys.iter().for_each(|&k| best.offer(k));
                let mut want = keys.clone();
                want.sort_unstable_by(|a, b| b.cmp(a));
                want.truncate(wanted);
                assert_eq!(best.ordered(), want, "round {round}");
                best.clear();
            }
        }
    }
}
