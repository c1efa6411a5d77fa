// The running selection of the M best of N candidates, replayed over their logits (B, N, R): one workgroup per image,
// all its merges in one launch.
//
// The line of candidates begins with the first M. Each next chunk joins its end; a candidate's score is its softmax
// among the line, summed over the R rows (their mean has the same order); the best M stay, best first, and of equals
// the one that stands earlier. Minus infinity has probability 0. A candidate with a NaN or plus infinity in any row is
// bad: it is left out of every softmax and ranks last, by position.
//
// WGSL promises nothing about infinities and NaN in arithmetic: logits are read as words, and only finite ones become
// numbers. Where the line is kept, and how it is put in order, is the matter of line_workgroup.wgsl or line_storage.wgsl:
// line, key, kept, rank and sync.
const THREADS: u32 = 256u;

// Marks a bad candidate in the line; the rest of the word is its index.
const BAD: u32 = 0x80000000u;
const MINUS_INFINITY: u32 = 0xff800000u;
// Words above this, without their sign, are infinities and NaN.
const LARGEST_FINITE: u32 = 0x7f7fffffu;

struct MergeParams {
    logits_first: u32,
    indices_first: u32,
    scratch_first: u32,
    images: u32,
    candidates: u32, // N
    rows: u32,       // R
    keep: u32,       // at most N
    chunk: u32,
    slots: u32,      // a power of two, at least keep + chunk
    lanes: u32,      // rows normalised at once: a power of two, at most THREADS
}

@group(0) @binding(0) var<uniform> params: MergeParams;
@group(0) @binding(1) var<storage, read> logits: array<u32>;        // (B, N, R), bits of f32
@group(0) @binding(2) var<storage, read_write> indices: array<i32>; // (B, M)

// Of each row, over the part of the line that a thread has seen, then over all: the largest logit, and the sum of
// exp(logit - largest), which is 0 where nothing has a probability. (THREADS) = (THREADS / lanes, lanes)
var<workgroup> largest: array<f32, THREADS>;
var<workgroup> sum: array<f32, THREADS>;

var<private> image: u32;

fn word_of(candidate: u32, row: u32) -> u32 {
    let at = (image * params.candidates + (candidate & ~BAD)) * params.rows + row;
    return logits[params.logits_first + at];
}

fn counts(word: u32) -> bool {
    return word != MINUS_INFINITY;
}

// exp(logit - most) for logit <= most, without leaving the range of f32.
fn weight_of(logit: f32, most: f32) -> f32 {
    return exp_f32(2.0 * max(0.5 * logit - 0.5 * most, -52.0));
}

// Writes candidates first.. to the places at..end of the line, bad ones marked.
fn join(thread: u32, first: u32, at: u32, end: u32) {
    for (var place = at + thread; place < end; place += THREADS) {
        var candidate = first + place - at;
        for (var row = 0u; row < params.rows; row++) {
            let word = word_of(candidate, row);
            if (word & ~BAD) > LARGEST_FINITE && word != MINUS_INFINITY {
                candidate |= BAD;
                break;
            }
        }
        set_line(place, candidate);
    }
}

// Normalises rows first..first + lanes over the line: their results are in the first `lanes` places of largest and sum.
fn normalise(thread: u32, first: u32, length: u32) {
    let row = first + thread % params.lanes;
    var most = 0.0;
    var total = 0.0;
    if row < params.rows {
        for (var place = thread / params.lanes; place < length; place += THREADS / params.lanes) {
            let candidate = line(place);
            let word = word_of(candidate, row);
            if candidate < BAD && counts(word) {
                let logit = bitcast<f32>(word);
                let is_first = total == 0.0;
                let grows = logit > most || is_first;
                let more = select(most, logit, grows);
                let weight = weight_of(select(logit, most, grows && !is_first), more);
                total = select(total + weight, fma(total, weight, 1.0), grows);
                most = more;
            }
        }
    }
    largest[thread] = most;
    sum[thread] = total;
    for (var half = THREADS / 2u; half >= params.lanes; half /= 2u) {
        workgroupBarrier(); // the sums of 2 * half threads are there
        if thread < half && sum[thread + half] > 0.0 {
            if sum[thread] > 0.0 {
                let more = max(largest[thread], largest[thread + half]);
                sum[thread] = sum[thread] * weight_of(largest[thread], more)
                    + sum[thread + half] * weight_of(largest[thread + half], more);
                largest[thread] = more;
            } else {
                sum[thread] = sum[thread + half];
                largest[thread] = largest[thread + half];
            }
        }
    }
    workgroupBarrier(); // the sums of all threads are in the first `lanes` places
}

// Adds the probabilities of rows first..first + lanes to the scores of the line.
fn add_scores(thread: u32, first: u32, length: u32) {
    let end = min(params.lanes, params.rows - first);
    for (var place = thread; place < length; place += THREADS) {
        let candidate = line(place);
        var score = 0.0;
        if first > 0u {
            score = bitcast<f32>(key(place));
        }
        if candidate < BAD {
            for (var lane = 0u; lane < end; lane++) {
                let word = word_of(candidate, first + lane);
                if counts(word) {
                    score += weight_of(bitcast<f32>(word), largest[lane]) / sum[lane];
                }
            }
        }
        set_key(place, bitcast<u32>(score));
    }
}

// Scores become keys: larger is better, 0 is bad. A score is never negative, so its bits are ordered as it is.
fn make_keys(thread: u32, length: u32) {
    for (var place = thread; place < length; place += THREADS) {
        set_key(place, select(key(place) + 1u, 0u, line(place) >= BAD));
    }
}

// Grid (images).
@compute @workgroup_size(THREADS)
fn top_m_merge_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    image = group_index(group, groups);
    if image >= params.images {
        return;
    }
    join(thread, 0u, 0u, params.keep);
    for (var first = params.keep; first < params.candidates; first += params.chunk) {
        let length = params.keep + min(params.chunk, params.candidates - first);
        join(thread, first, params.keep, length);
        sync(); // the line is complete
        for (var row = 0u; row < params.rows; row += params.lanes) {
            normalise(thread, row, length);
            add_scores(thread, row, length);
            workgroupBarrier(); // nobody reads the normalisers any more
        }
        make_keys(thread, length);
        sync(); // all keys are there
        rank(thread, length);
        sync(); // the kept ones are there, in order
        for (var place = thread; place < params.keep; place += THREADS) {
            set_line(place, kept(place));
        }
        sync(); // nobody reads the kept ones any more
    }
    for (var place = thread; place < params.keep; place += THREADS) {
        indices[params.indices_first + image * params.keep + place] = i32(line(place) & ~BAD);
    }
}
