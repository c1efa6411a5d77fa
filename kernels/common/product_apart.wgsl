// The operands of product.wgsl where no operand is in the buffer of the result.
@group(0) @binding(1) var<storage, read> a: array<ElementA>;
@group(0) @binding(2) var<storage, read> b: array<ElementB>;
@group(0) @binding(3) var<storage, read_write> c: array<ElementC>;

fn bias_of(m: u32, n: u32) -> f32 {
    return 0.0;
}
