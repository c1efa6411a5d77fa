// perturbed_top_k: the positions of the k largest of N perturbed scores, for each sample, in the order of positions. A
// workgroup has one sample. It finds the key of the k-th largest digit by digit (radix selection, 8 bits at a time, from
// histograms of the keys that agree with the digits found), then goes through the positions in order and writes those
// with larger keys, and the first ones with that key. The first CACHE keys are kept, further ones computed again for
// every digit. Grid (B * S).
const THREADS: u32 = 256u;
const CACHE: u32 = 2048u;
const BINS: u32 = 256u; // a bin for each thread

struct PerturbedParams {
    scores_first: u32,
    given_first: u32,
    positions_first: u32,
    key_0: u32,
    key_1: u32,
    first_low: u32,    // counter of the first block of the first sample
    first_high: u32,
    drawn: u32,        // 0: the noise is given
    samples: u32,      // of this launch
    per_image: u32,    // S
    first_sample: u32, // number of the first sample in its image
    count: u32,        // positions, N
    keep: u32,         // k
    sigma: f32,
}

@group(0) @binding(0) var<uniform> params: PerturbedParams;
@group(0) @binding(1) var<storage, read> scores: array<u32>;          // (B, N), bits of f32
@group(0) @binding(2) var<storage, read> given: array<f32>;           // (B, S, N), if the noise is given
@group(0) @binding(3) var<storage, read_write> positions: array<i32>; // (B, S, k)

var<workgroup> cache: array<u32, CACHE>;
var<workgroup> counts: array<atomic<u32>, BINS>;
var<workgroup> sums: array<u32, THREADS>;
var<workgroup> found: vec2<u32>;
var<private> sample: u32;

// Keys of four positions, computed.
fn make_keys(block: u32) -> vec4<u32> {
    let stretch = Words(vec2<u32>(params.key_0, params.key_1), params.first_low, params.first_high);
    let z = noise_of(params.drawn != 0u, stretch, sample, block, params.count, params.given_first);
    let row = params.scores_first + (params.first_sample + sample) / params.per_image * params.count;
    var keys = vec4<u32>(0u);
    for (var i = 0u; i < 4u; i++) {
        if 4u * block + i < params.count {
            // Infinities and NaN stay what they are: the scale is positive.
            let special = (bitcast<u32>(z[i]) & 0x7f800000u) == 0x7f800000u;
            let scaled = select(bitcast<u32>(params.sigma * z[i]), bitcast<u32>(z[i]), special);
            keys[i] = order_key_of_sum(scores[row + 4u * block + i], scaled);
        }
    }
    return keys;
}

fn keys_of(block: u32) -> vec4<u32> {
    if 4u * block + 4u <= CACHE {
        return vec4<u32>(cache[4u * block], cache[4u * block + 1u], cache[4u * block + 2u], cache[4u * block + 3u]);
    }
    return make_keys(block);
}

// The sum of `own` over all earlier threads.
fn sum_before(thread: u32, own: u32) -> u32 {
    workgroupBarrier(); // nobody reads the last sums any more
    sums[thread] = own;
    for (var apart = 1u; apart < THREADS; apart *= 2u) {
        workgroupBarrier(); // the sums of up to `apart` threads are there
        var more = 0u;
        if thread >= apart {
            more = sums[thread - apart];
        }
        workgroupBarrier(); // everybody has read
        sums[thread] += more;
    }
    workgroupBarrier(); // the last thread has the sum of all
    return sums[thread] - own;
}

// Of the keys that agree with `prefix` above `shift + 8`: the digit of the `wanted`-th largest, and how many of them have
// a larger one.
fn find_digit(thread: u32, prefix: u32, shift: u32, wanted: u32) -> vec2<u32> {
    atomicStore(&counts[thread], 0u);
    workgroupBarrier(); // the counts are zero
    for (var block = thread; 4u * block < params.count; block += THREADS) {
        let keys = keys_of(block);
        for (var i = 0u; i < 4u; i++) {
            let agrees = shift == 24u || (keys[i] >> ((shift + 8u) & 31u)) == prefix;
            if agrees && 4u * block + i < params.count {
                atomicAdd(&counts[(keys[i] >> shift) & 0xffu], 1u);
            }
        }
    }
    workgroupBarrier(); // everything is counted
    // Thread t has the t-th largest digit.
    let own = atomicLoad(&counts[BINS - 1u - thread]);
    let above = sum_before(thread, own);
    if above < wanted && wanted <= above + own {
        found = vec2<u32>(BINS - 1u - thread, above);
    }
    return workgroupUniformLoad(&found);
}

@compute @workgroup_size(THREADS)
fn perturbed_select_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    sample = group_index(group, groups);
    if sample >= params.samples {
        return;
    }
    for (var block = thread; 4u * block + 4u <= CACHE && 4u * block < params.count; block += THREADS) {
        let keys = make_keys(block);
        for (var i = 0u; i < 4u; i++) {
            cache[4u * block + i] = keys[i];
        }
    }
    // The key of the worst that is kept, and how many of those with that key are.
    var worst = 0u;
    var wanted = params.keep;
    for (var digit = 0u; digit < 4u; digit++) {
        let next = find_digit(thread, worst, 24u - 8u * digit, wanted);
        worst = (worst << 8u) | next.x;
        wanted -= next.y;
    }
    var better = 0u; // of the positions so far
    var equal = 0u;
    for (var first = 0u; 4u * first < params.count; first += THREADS) {
        let block = first + thread;
        var keys = vec4<u32>(0u);
        var own = 0u; // better ones in the lower half of the word, equal ones in the upper
        if 4u * block < params.count {
            keys = keys_of(block);
            for (var i = 0u; i < 4u; i++) {
                if 4u * block + i < params.count {
                    own += u32(keys[i] > worst) + (u32(keys[i] == worst) << 16u);
                }
            }
        }
        let before = sum_before(thread, own);
        var better_here = better + (before & 0xffffu);
        var equal_here = equal + (before >> 16u);
        for (var i = 0u; i < 4u; i++) {
            let position = 4u * block + i;
            if position < params.count && keys[i] >= worst {
                let place = better_here + min(equal_here, wanted);
                if keys[i] > worst || equal_here < wanted {
                    positions[params.positions_first + sample * params.keep + place] = i32(position);
                }
                better_here += u32(keys[i] > worst);
                equal_here += u32(keys[i] == worst);
            }
        }
        let total = workgroupUniformLoad(&sums[THREADS - 1u]);
        better += total & 0xffffu;
        equal += total >> 16u;
    }
}
