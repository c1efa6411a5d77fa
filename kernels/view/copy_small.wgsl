// Copies elements of which PER_WORD make a word (four bytes, or two halves): as copy.wgsl, but seen from y, because a word
// of y has one writer. The box of common/walk.wgsl is all of y (b is not used), of whose rows the elements
// band_first..band_end are written; what is beside the band is left as it is, and launches that write different elements
// of a word follow each other. A thread writes one word.
const THREADS: u32 = 128u;
const PER_WORD: u32 = 4u;
const BITS: u32 = 32u / PER_WORD;
const MASK: u32 = 0xffffffffu >> (32u - BITS);

struct CopySmallParams {
    x_first: u32, // may wrap around zero
    y_first: u32,
    count: u32,
    row: u32,
    band_first: u32,
    band_end: u32,
    size_0: u32,
    size_1: u32,
    size_2: u32,
    size_3: u32,
    size_4: u32,
    a_0: u32,
    a_1: u32,
    a_2: u32,
    a_3: u32,
    a_4: u32,
    a_last: u32,
    b_0: u32,
    b_1: u32,
    b_2: u32,
    b_3: u32,
    b_4: u32,
    b_last: u32,
}

@group(0) @binding(0) var<uniform> params: CopySmallParams;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(THREADS)
fn copy_small(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let word = params.y_first / PER_WORD + group_index(group, groups) * THREADS + thread;
    var value = 0u;
    var mask = 0u;
    for (var lane = 0u; lane < PER_WORD; lane++) {
        // Before the first element this is a very large number.
        let at = PER_WORD * word + lane - params.y_first;
        let index = at % params.row;
        if at < params.count && index >= params.band_first && index < params.band_end {
            let origin = params.x_first + walk(at).x;
            value |= ((x[origin / PER_WORD] >> (BITS * (origin % PER_WORD))) & MASK) << (BITS * lane);
            mask |= MASK << (BITS * lane);
        }
    }
    if mask == 0xffffffffu {
        y[word] = value;
    } else if mask != 0u {
        y[word] = (y[word] & ~mask) | value;
    }
}
