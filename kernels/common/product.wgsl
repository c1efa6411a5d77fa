// A batch of matrix products of any layout:
//
//   c[z][m, n] = (c[z][m, n] if ADD) + scale * (sum over k of a[z][m, k] * b[z][k, n]) + (bias[m or n] if there is one)
//
// An index i of an axis lies i / inner * outer + i % inner * step elements from the first, with outer and step for each
// operand: so m may run over two axes of a tensor that are not neighbours. A long k is cut into pieces of `k_per_piece`,
// whose sums are added up one after another: here, if LONG, or by add_parts.wgsl, if each is a split of its own, whose
// sums are `c_split` apart.
//
// A workgroup computes a tile of TILE_M by TILE_N, as product_tiles.wgsl or product_registers.wgsl says. Every element is
// one chain of multiply-adds in ascending k, or one for each piece, so its bits do not depend on the tile that it is in. Bindings are those of
// product_apart.wgsl, product_within.wgsl or product_bias.wgsl, and product_write.wgsl writes c; product_pairs.wgsl has
// both.
const LONG: u32 = 0u;

struct ProductParams {
    a_first: u32, // may wrap around zero, as may the others
    b_first: u32,
    c_first: u32,
    m_first: u32, // of this launch
    m_end: u32,
    n_first: u32,
    n_end: u32,
    k: u32,
    m_inner: u32,
    n_inner: u32,
    k_inner: u32,
    z_first: u32, // number of the first product, split, of this launch
    z_count: u32,
    splits: u32,
    k_per_piece: u32,
    a_batch: u32,
    a_m_outer: u32,
    a_m: u32,
    a_k_outer: u32,
    a_k: u32,
    b_batch: u32,
    b_k_outer: u32,
    b_k: u32,
    b_n_outer: u32,
    b_n: u32,
    c_batch: u32,
    c_split: u32,
    c_m_outer: u32,
    c_m: u32,
    c_n_outer: u32,
    c_n: u32,
    scale: f32,
    bias_first: u32,
    bias_m: u32,
    bias_n: u32,
}

@group(0) @binding(0) var<uniform> params: ProductParams;

// A tile: its first row and column, and where the matrices of its product begin.
struct Tile {
    m: u32,
    n: u32,
    a: u32,
    b: u32,
}

fn offset(at: u32, inner: u32, outer: u32, step: u32) -> u32 {
    return at / inner * outer + at % inner * step;
}

// Where row m of a and column n of b begin.
fn row_at(tile: Tile, m: u32) -> u32 {
    return tile.a + offset(m, params.m_inner, params.a_m_outer, params.a_m);
}

fn col_at(tile: Tile, n: u32) -> u32 {
    return tile.b + offset(n, params.n_inner, params.b_n_outer, params.b_n);
}

var<private> totals: array<vec4<f32>, COLS * QUADS>; // of the pieces so far, if LONG

// Sums the steps k_first..k_end piece by piece.
fn pieces(thread: u32, tile: Tile, k_first: u32, k_end: u32) {
    for (var k = k_first; k < k_end; k += params.k_per_piece) {
        product(thread, tile, k, min(k + params.k_per_piece, k_end));
        for (var at = 0u; at < COLS * QUADS; at++) { // unrolled
            totals[at] = select(totals[at] + sums[at], sums[at], k == k_first);
        }
    }
    for (var at = 0u; at < COLS * QUADS; at++) { // unrolled
        sums[at] = totals[at];
    }
}

// Grid (products * splits * tiles along m * tiles along n).
@compute @workgroup_size(THREADS)
fn product_f32(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let across = (params.n_end - params.n_first + TILE_N - 1u) / TILE_N;
    let down = (params.m_end - params.m_first + TILE_M - 1u) / TILE_M;
    let at = group_index(group, groups);
    let z = params.z_first + at / (across * down);
    if z >= params.z_first + params.z_count {
        return;
    }
    let tile_n = params.n_first + at % across * TILE_N;
    let tile_m = params.m_first + at / across % down * TILE_M;
    let item = z / params.splits;
    let k_first = z % params.splits * params.k_per_piece;

    let tile = Tile(tile_m, tile_n, params.a_first + item * params.a_batch, params.b_first + item * params.b_batch);
    if LONG != 0u {
        pieces(thread, tile, 0u, params.k);
    } else {
        product(thread, tile, k_first, min(k_first + params.k_per_piece, params.k));
    }
    write(thread, tile, params.c_first + item * params.c_batch + z % params.splits * params.c_split);
}
