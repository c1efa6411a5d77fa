// Random words of Philox4x32-10, as in src/rng.rs: four words from a 128-bit counter and a 64-bit key.

// The upper 32 bits of a product of two words.
fn product_high(a: u32, b: u32) -> u32 {
    let a_low = a & 0xffffu;
    let a_high = a >> 16u;
    let b_low = b & 0xffffu;
    let b_high = b >> 16u;
    let low = a_low * b_low;
    let middle = a_high * b_low + (low >> 16u);
    let other = a_low * b_high + (middle & 0xffffu);
    return a_high * b_high + (middle >> 16u) + (other >> 16u);
}

fn philox(counter: vec4<u32>, first_key: vec2<u32>) -> vec4<u32> {
    var c = counter;
    var key = first_key;
    for (var round = 0u; round < 10u; round++) {
        let high_0 = product_high(0xd2511f53u, c.x);
        let high_1 = product_high(0xcd9e8d57u, c.z);
        c = vec4<u32>(high_1 ^ c.y ^ key.x, 0xcd9e8d57u * c.z, high_0 ^ c.w ^ key.y, 0xd2511f53u * c.x);
        key += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
    }
    return c;
}

// A stretch of the random sequence, set aside for one operation: its key, and the counter of its first block.
struct Words {
    key: vec2<u32>,
    first_low: u32,
    first_high: u32,
}

// The four words of block `at` of a stretch.
fn block_of(words: Words, at: u32) -> vec4<u32> {
    let low = words.first_low + at;
    let carry = u32(low < at);
    return philox(vec4<u32>(low, words.first_high + carry, 0u, 0u), words.key);
}

// Word `at` of a stretch.
fn word_at(words: Words, at: u32) -> u32 {
    return block_of(words, at / 4u)[at % 4u];
}
