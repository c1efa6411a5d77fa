// The space of winograd.wgsl, two neighbours to a 64-bit word, for the reasons of common/product_pairs.wgsl. Channels of x
// and tiles are even in number.
@group(0) @binding(6) var<storage, read_write> space: array<u64>;

const WIDTH: u32 = 2u;

fn put(at: u32, first: f32, last: f32) {
    space[at / 2u] = packed(vec2<f32>(first, last));
}

fn got(at: u32) -> vec2<f32> {
    return unpacked(space[at / 2u]);
}
