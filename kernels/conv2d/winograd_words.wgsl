// The space of winograd.wgsl, an element to a word.
@group(0) @binding(6) var<storage, read_write> space: array<f32>;

const WIDTH: u32 = 1u;

fn put(at: u32, first: f32, last: f32) {
    space[at] = first;
}

fn got(at: u32) -> vec2<f32> {
    return vec2<f32>(space[at], 0.0);
}
