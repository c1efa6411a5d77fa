// Lists of (key, complement of the position) in workgroup memory, put in order by a bitonic network: larger keys first,
// of equal ones the smaller position first. An empty place is (0, 0), behind everything.
const THREADS: u32 = 256u;
const SLOTS: u32 = 1024u;

var<workgroup> keys: array<u32, SLOTS>;
var<workgroup> complements: array<u32, SLOTS>;

// All exchanges of neighbours `widest` and less apart. The workgroup holds the places from `base` on of lists of `line`
// places each (a power of two); directions alternate between runs of `run` places.
fn merge_runs(thread: u32, base: u32, line: u32, run: u32, widest: u32) {
    for (var apart = widest; apart > 0u; apart /= 2u) {
        workgroupBarrier(); // the previous exchanges are done
        for (var pair = thread; pair < SLOTS / 2u; pair += THREADS) {
            let a = 2u * pair - (pair & (apart - 1u));
            let b = a + apart;
            let ahead = ((base + a) & (line - 1u) & run) == 0u;
            let b_is_better = keys[b] > keys[a] || (keys[b] == keys[a] && complements[b] > complements[a]);
            if b_is_better == ahead {
                let key = keys[a];
                let complement = complements[a];
                keys[a] = keys[b];
                complements[a] = complements[b];
                keys[b] = key;
                complements[b] = complement;
            }
        }
    }
    workgroupBarrier(); // everything is in its place
}

// Sorts lists of up to SLOTS places, or the workgroup's part of longer ones, ready to be merged.
fn sort_runs(thread: u32, base: u32, line: u32) {
    for (var run = 2u; run <= min(line, SLOTS); run *= 2u) {
        merge_runs(thread, base, line, run, run / 2u);
    }
}
