// A line of candidates in workgroup memory. Each counts how many are better: that is its rank.
const LINE: u32 = 256u;
// Candidates that a thread ranks at once, for every key that it looks at.
const AT_ONCE: u32 = 4u;

var<workgroup> lines: array<u32, LINE>;
var<workgroup> keys: array<u32, LINE>;
var<workgroup> kepts: array<u32, LINE>;

fn line(place: u32) -> u32 {
    return lines[place];
}

fn set_line(place: u32, candidate: u32) {
    lines[place] = candidate;
}

fn key(place: u32) -> u32 {
    return keys[place];
}

fn set_key(place: u32, value: u32) {
    keys[place] = value;
}

fn kept(place: u32) -> u32 {
    return kepts[place];
}

fn sync() {
    workgroupBarrier();
}

// kept[rank of c] = c, for the best `keep` candidates of the line.
fn rank(thread: u32, length: u32) {
    for (var base = thread * AT_ONCE; base < length; base += THREADS * AT_ONCE) {
        var own: array<u32, AT_ONCE>;
        var better: array<u32, AT_ONCE>;
        for (var i = 0u; i < AT_ONCE; i++) {
            own[i] = keys[min(base + i, length - 1u)];
            better[i] = 0u;
        }
        for (var other = 0u; other < length; other++) {
            let value = keys[other];
            for (var i = 0u; i < AT_ONCE; i++) {
                better[i] += u32(value > own[i] || (value == own[i] && other < base + i));
            }
        }
        for (var i = 0u; i < AT_ONCE; i++) {
            if base + i < length && better[i] < params.keep {
                kepts[better[i]] = lines[base + i];
            }
        }
    }
}
