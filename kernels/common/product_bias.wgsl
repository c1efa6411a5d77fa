// The operands of product.wgsl with a bias along one axis of the result.
@group(0) @binding(1) var<storage, read> a: array<ElementA>;
@group(0) @binding(2) var<storage, read> b: array<ElementB>;
@group(0) @binding(3) var<storage, read> bias: array<ElementC>;
@group(0) @binding(4) var<storage, read_write> c: array<ElementC>;

fn bias_of(m: u32, n: u32) -> f32 {
    return f32(bias[params.bias_first + m * params.bias_m + n * params.bias_n]);
}
