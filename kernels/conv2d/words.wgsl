// The rows of a of registers.wgsl, a step to a load.
const STEPS: u32 = 1u;

fn a_from(at: u32) -> vec2<f32> {
    return vec2<f32>(a_at(at), 0.0);
}
