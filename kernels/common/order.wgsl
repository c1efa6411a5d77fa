// Floats as integers of the same order, read from their bits: larger numbers have larger keys, both zeros the same one,
// and NaN has the smallest, 0. WGSL promises nothing about comparisons with infinities and NaN.
const ORDER_INFINITY: u32 = 0x7f800000u;
const ORDER_SIGN: u32 = 0x80000000u;

fn order_key(bits: u32) -> u32 {
    if (bits & ~ORDER_SIGN) > ORDER_INFINITY {
        return 0u;
    }
    let clean = select(bits, 0u, bits == ORDER_SIGN);
    return clean ^ select(0xffffffffu, ORDER_SIGN, clean < ORDER_SIGN);
}

// The bits of the number with this key.
fn order_bits(key: u32) -> u32 {
    if key == 0u {
        return ORDER_INFINITY | 1u;
    }
    return key ^ select(0xffffffffu, ORDER_SIGN, key >= ORDER_SIGN);
}

// The key of a + b for numbers given by their bits, whose sum does not leave the range of f32.
fn order_key_of_sum(a: u32, b: u32) -> u32 {
    let a_special = (a & ~ORDER_SIGN) >= ORDER_INFINITY;
    let b_special = (b & ~ORDER_SIGN) >= ORDER_INFINITY;
    if a_special && b_special {
        // Equal infinities are their sum; everything else is NaN.
        return select(0u, order_key(a), a == b);
    }
    if a_special {
        return order_key(a);
    }
    if b_special {
        return order_key(b);
    }
    return order_key(bitcast<u32>(bitcast<f32>(a) + bitcast<f32>(b)));
}
