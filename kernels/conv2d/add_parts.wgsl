// sum[e] = (sum[e] if `add`, else 0) + parts[0, e] + parts[1, e] + ..., in this order.
const THREADS: u32 = 64u;
alias Element = f32; // of the sum: or f16

struct AddPartsParams {
    parts_first: u32,
    sum_first: u32,
    parts: u32,
    elements: u32,
    add: u32,
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
    var total = 0.0;
    if params.add != 0u {
        total = f32(sum[params.sum_first + at]);
    }
    for (var part = 0u; part < params.parts; part++) {
        total += parts[params.parts_first + part * params.elements + at];
    }
    sum[params.sum_first + at] = Element(total);
}
