// The weights as the rows of a of registers.wgsl, two steps to a load, for the reasons of common/product_pairs.wgsl. Steps
// are neighbours in memory and even in number, and rows begin at even places.
@group(0) @binding(2) var<storage, read> weight_pairs: array<u64>; // (O, C / groups, kh, kw)

const STEPS: u32 = 2u;

fn a_from(at: u32) -> vec2<f32> {
    return unpacked(weight_pairs[(group_weight + at) / 2u]);
}
