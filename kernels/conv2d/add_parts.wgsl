// sum[e] = scale * (parts[0, e] + parts[1, e] + ...), in this order; what is in sum[e] comes first, last or not at all.
const THREADS: u32 = 64u;
const FIRST: u32 = 1u; // `onto`
const LAST: u32 = 2u;
alias Element = f32; // of the sum: or f16

struct AddPartsParams {
    parts_first: u32,
    sum_first: u32,
    parts: u32,
    elements: u32,
    onto: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: AddPartsParams;
// Not read-only, because the sum may be in the same buffer, which has one kind of access in a launch.
@group(0) @binding(1) var<storage, read_write> parts: array<f32>; // (parts, elements)
@group(0) @binding(2) var<storage, read_write> sum: array<Element>; // (elements)

@compute @workgroup_size(THREADS)
fn add_parts_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = group_index(group, groups) * THREADS + thread;
    if at >= params.elements {
        return;
    }
    let there = f32(sum[params.sum_first + at]);
    var total = select(0.0, there, params.onto == FIRST);
    for (var part = 0u; part < params.parts; part++) {
        let value = parts[params.parts_first + part * params.elements + at];
        total = select(total + value, value, part == 0u && params.onto != FIRST);
    }
    total *= params.scale;
    sum[params.sum_first + at] = Element(select(total, there + total, params.onto == LAST));
}
