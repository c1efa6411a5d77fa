// The operands of product.wgsl where some of them are in one buffer with the result: a buffer has one kind of access in a
// launch.
@group(0) @binding(1) var<storage, read_write> a: array<ElementA>;
@group(0) @binding(2) var<storage, read_write> b: array<ElementB>;
@group(0) @binding(3) var<storage, read_write> c: array<ElementC>;

fn bias_of(m: u32, n: u32) -> f32 {
    return 0.0;
}
