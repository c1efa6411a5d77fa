//! Vectors whose length a caller decides: where there is no memory for one, that is an error.

use crate::error::{Error, Result};

/// An empty vector with room for `len` elements.
pub(crate) fn reserved<T>(len: usize, what: &str) -> Result<Vec<T>> {
    let mut vector = Vec::new();
    vector.try_reserve_exact(len).map_err(|_| Error::OutOfMemory {
        device: crate::cpu::NAME.into(),
        bytes: len.saturating_mul(size_of::<T>()),
        what: what.into(),
    })?;
    Ok(vector)
}

/// `len` copies of `value`.
pub(crate) fn filled<T: Clone>(len: usize, value: T, what: &str) -> Result<Vec<T>> {
    let mut vector = reserved(len, what)?;
    vector.resize(len, value);
    Ok(vector)
}

/// `make(0)`, `make(1)`, … `make(len - 1)`.
pub(crate) fn made<T>(len: usize, what: &str, make: impl FnMut(usize) -> T) -> Result<Vec<T>> {
    let mut vector = reserved(len, what)?;
    vector.extend((0..len).map(make));
    Ok(vector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_memory_can_hold_is_an_error() {
        assert_eq!(filled(3, 7_u8, "test"), Ok(vec![7; 3]));
        assert_eq!(made(3, "test", |i| 2 * i), Ok(vec![0, 2, 4]));
        for len in [usize::MAX, usize::MAX / 8, 1 << 58] {
            let refused = filled(len, 0.0_f32, "a test");
            assert!(matches!(&refused, Err(Error::OutOfMemory { .. })), "{refused:?}");
            assert!(refused.unwrap_err().to_string().contains("a test"));
        }
    }
}
