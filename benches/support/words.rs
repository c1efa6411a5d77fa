//! Numbers that follow from the names of tensors, bit for bit the same as those of `peers/inputs.py`: no library is in
//! them, so that every side of a benchmark can make its own tensors of them.
//!
//! Element i of tensor `name` is splitmix64(fnv1a64(name) + (i + 1) · GOLDEN) reduced to its top 24 bits, which give a
//! uniform number in [low, high).

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// FNV-1a hash of the UTF-8 bytes of `name`, 64 bits.
fn fnv1a64(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hashed, byte| {
        (hashed ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// The splitmix64 stream that starts at the hash of `name`.
pub(crate) fn words(name: &str) -> impl Iterator<Item = u64> + use<> {
    let start = fnv1a64(name);
    (1u64..).map(move |i| {
        let z = start.wrapping_add(i.wrapping_mul(GOLDEN));
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}

/// Uniform in [low, high): low + (high − low) · word / 2^24, computed in f64 and rounded once. (count,)
pub(crate) fn values(name: &str, count: usize, low: f64, high: f64) -> Vec<f32> {
    let unit = |word: u64| (word >> 40) as f64 / f64::from(1 << 24);
    words(name).take(count).map(|word| (low + (high - low) * unit(word)) as f32).collect()
}

/// The range of a parameter's values, such that variance survives the layers; the name tells norms from queries.
pub(crate) fn bounds(name: &str, dims: &[usize]) -> (f64, f64) {
    let reach = match *dims {
        [_, inputs, height, width] => (6.0 / (inputs * height * width) as f64).sqrt(),
        [_, inputs] => (3.0 / inputs as f64).sqrt(),
        _ if name.ends_with(".q") => 0.25,
        _ if name.ends_with("running_var") || name.ends_with(".weight") => return (0.5, 1.5),
        _ => 0.1,
    };
    (-reach, reach)
}

/// Independent bytes. (count,)
pub(crate) fn bytes(name: &str, count: usize) -> Vec<u8> {
    words(name).take(count).map(|word| (word >> 56) as u8).collect()
}

/// What ends the name of the `at`th image of its size: nothing for the first.
pub(crate) fn suffix(at: usize) -> String {
    if at == 0 { String::new() } else { format!("-{at}") }
}

/// Independent pixels of a square image, the `at`th of its size: no patch is blank. (side · side,)
pub(crate) fn dense_pixels(side: usize, at: usize) -> Vec<u8> {
    bytes(&format!("image-dense-{side}{}", suffix(at)), side * side)
}
