// A batch of matrix products of any layout:
//
//   c[z][m, n] = (c[z][m, n] if `add`) + scale * (sum over k of a[z][m, k] * b[z][k, n]) + (bias[m or n] if there is one)
//
// An index i of an axis lies i / inner * outer + i % inner * step elements from the first, with outer and step for each
// operand: so m may run over two axes of a tensor that are not neighbours. A long k is cut into pieces, each a chain of
// multiply-adds, whose sums are added in ascending order: so the bits of a result follow from k alone. A block goes through
// all pieces, or one block has each of them (`splits`), their sums go to `parts` and a second launch adds them. The tiles
// are those of common/product.cuh.
#include "../common/product.cuh"

// Where the matrices of an operand lie: elements between two of the batch, and along both axes.
struct MatrixParams {
    u64 batch;
    u64 row_outer;
    u64 row;
    u64 col_outer;
    u64 col;
};

struct ProductParams {
    MatrixParams a;   // (m, k)
    MatrixParams b;   // (k, n)
    MatrixParams c;   // (m, n)
    u32 batch;
    u32 m;
    u32 k;
    u32 n;
    u32 m_inner;
    u32 k_inner;
    u32 n_inner;
    u32 k_per_piece;  // the last one takes what is left
    u32 splits;       // 1, or the number of pieces
    u32 add;
    u32 bias_along_m;
    float scale;
};

__device__ inline i64 offset(u32 at, u32 inner, u64 outer, u64 step) {
    return (i64)(at / inner * outer + at % inner * step);
}

// How far one k lies from the beginning of a row of a and of a column of b; negative: it does not exist.
struct Distances {
    i64 a, b;
};

template <u32 ROWS>
struct ProductMemory {
    typename Tile<ROWS>::Memory tiles;
    i64 rows[Tile<ROWS>::M];  // where the rows of a begin; negative: there is none
    i64 columns[TILE_N];      // and the columns of b
    Distances steps[2][TILE_K];
};

// The operands of a tile: k in [first, end).
template <u32 ROWS>
struct Matrices {
    ProductMemory<ROWS>& memory;
    const float* __restrict__ a;  // of this product
    const float* __restrict__ b;
    const ProductParams& p;
    u32 first, end;

    // Neighbouring threads fetch neighbours in memory.
    __device__ Spread left_spread() const {
        return p.a.col < p.a.row ? Spread::along_k() : Spread::along_side(Tile<ROWS>::M);
    }
    __device__ Spread right_spread() const {
        return p.b.row < p.b.col ? Spread::along_k() : Spread::along_side(TILE_N);
    }

    __device__ void locate(u32 tile_m, u32 tile_n) {
        for (u32 i = threadIdx.x; i < Tile<ROWS>::M; i += THREADS) {
            u32 m = tile_m + i;
            memory.rows[i] = m < p.m ? offset(m, p.m_inner, p.a.row_outer, p.a.row) : -1;
        }
        for (u32 i = threadIdx.x; i < TILE_N; i += THREADS) {
            u32 n = tile_n + i;
            memory.columns[i] = n < p.n ? offset(n, p.n_inner, p.b.col_outer, p.b.col) : -1;
        }
    }

    __device__ void prepare(u32 at) {
        if (threadIdx.x >= TILE_K) return;
        u32 k = first + at * TILE_K + threadIdx.x;
        Distances none = {-1, -1};
        memory.steps[at % 2][threadIdx.x] =
            k < end ? Distances{offset(k, p.k_inner, p.a.col_outer, p.a.col), offset(k, p.k_inner, p.b.row_outer, p.b.row)}
                    : none;
    }

    __device__ void fetch(u32 tile, float* left, float* right) const {
        Spread at = left_spread();
#pragma unroll
        for (u32 i = 0; i < Tile<ROWS>::LEFT_EACH; i++) {
            i64 row = memory.rows[at.side + i * at.side_step], step = memory.steps[tile % 2][at.k + i * at.k_step].a;
            left[i] = row >= 0 && step >= 0 ? a[row + step] : 0.0f;
        }
        at = right_spread();
#pragma unroll
        for (u32 i = 0; i < Tile<ROWS>::RIGHT_EACH; i++) {
            i64 column = memory.columns[at.side + i * at.side_step], step = memory.steps[tile % 2][at.k + i * at.k_step].b;
            right[i] = column >= 0 && step >= 0 ? b[column + step] : 0.0f;
        }
    }
};

// A result, given its sum over k and its place.
__device__ inline float finished(const float* __restrict__ bias, const ProductParams& p, u32 m, u32 n, float sum,
                                 const float* place) {
    float value = p.scale * sum;
    if (bias) value += bias[p.bias_along_m ? m : n];
    return p.add ? *place + value : value;
}

// Where the columns that a thread has lie in a row of c.
struct Columns {
    u32 first, count;
    i64 at[COLS];
    bool side_by_side;

    __device__ Columns(const ProductParams& p, u32 n) : first(n), count(n < p.n ? min(COLS, p.n - n) : 0) {
#pragma unroll
        for (u32 j = 0; j < COLS; j++) at[j] = offset(n + j, p.n_inner, p.c.col_outer, p.c.col);
        side_by_side = p.c.col == 1 && p.n_inner >= p.n;
    }
};

// Writes a thread's results of one row m, at once where they lie side by side, given their sums over k.
__device__ inline void write_row(float* row, const Columns& columns, const float* __restrict__ bias, const ProductParams& p,
                                 u32 m, Quad<float> sums) {
#pragma unroll
    for (u32 j = 0; j < COLS; j++) {
        if (j >= columns.count) break;
        float* place = row + columns.at[j];
        sums.item[j] = finished(bias, p, m, columns.first + j, sums.item[j], place);
        if (!columns.side_by_side) *place = sums.item[j];
    }
    float* to = row + columns.at[0];
    if (columns.side_by_side) store(to, sums, columns.count, (u64)to % sizeof(Quad<float>) == 0);
}

// `PIECES`: a block may have several pieces of k, whose sums take registers of their own.
template <u32 ROWS, bool PIECES>
__device__ inline void product(ProductMemory<ROWS>& memory, const float* __restrict__ a, const float* __restrict__ b,
                               const float* __restrict__ bias, float* __restrict__ c, float* __restrict__ parts,
                               const ProductParams& p) {
    constexpr u32 TILE_M = Tile<ROWS>::M;
    u32 across = ceil_div(p.n, TILE_N), down = ceil_div(p.m, TILE_M);
    u32 tile_n = blockIdx.x % across * TILE_N, tile_m = blockIdx.x / across % down * TILE_M;
    u32 z = blockIdx.x / across / down;
    u32 item = z / p.splits, split = z % p.splits;

    Matrices<ROWS> operands = {memory, a + item * p.a.batch, b + item * p.b.batch, p, 0, 0};
    operands.locate(tile_m, tile_n);
    Tile<ROWS> tile;
    float sums[ROWS][COLS] = {};
    u32 end_piece = PIECES && p.splits == 1 ? ceil_div(p.k, p.k_per_piece) : split + 1;
    for (u32 piece = split; piece < end_piece; piece++) {
        operands.first = piece * p.k_per_piece;
        operands.end = min(operands.first + p.k_per_piece, p.k);
        tile.run(memory.tiles, operands.first < operands.end ? ceil_div(operands.end - operands.first, TILE_K) : 0, operands);
#pragma unroll
        for (u32 r = 0; r < ROWS; r++)
#pragma unroll
            for (u32 j = 0; j < COLS; j++) sums[r][j] += tile.c[r][j];
        if (!PIECES) break;
    }

    Columns columns(p, tile_n + Tile<ROWS>::column());
    if (columns.count == 0) return;
    float* part = parts + ((u64)split * p.batch + item) * p.m * p.n + columns.first;
#pragma unroll
    for (u32 r = 0; r < ROWS; r++) {
        u32 m = tile_m + Tile<ROWS>::row() + r;
        if (m >= p.m) break;
        Quad<float> of_row = {{sums[r][0], sums[r][1], sums[r][2], sums[r][3]}};
        if (p.splits == 1) {
            float* row = c + item * p.c.batch + offset(m, p.m_inner, p.c.row_outer, p.c.row);
            write_row(row, columns, bias, p, m, of_row);
        } else {
            store(part + (u64)m * p.n, of_row, columns.count, p.n % COLS == 0);
        }
    }
}

// Tiles of 16 rows. Grid (tiles along n * tiles along m * batch * splits).
extern "C" __global__ void __launch_bounds__(THREADS)
product_16_f32(const float* __restrict__ a,
               const float* __restrict__ b,
               const float* __restrict__ bias,  // (m) or (n), or null
               float* __restrict__ c,           // written if there is one split
               float* __restrict__ parts,       // (splits, batch, m, n), or null
               ProductParams p) {
    __shared__ ProductMemory<2> memory;
    product<2, true>(memory, a, b, bias, c, parts, p);
}

// Tiles of 32 rows. Grid as above.
extern "C" __global__ void __launch_bounds__(THREADS)
product_32_f32(const float* __restrict__ a,
               const float* __restrict__ b,
               const float* __restrict__ bias,  // (m) or (n), or null
               float* __restrict__ c,           // written if there is one split
               float* __restrict__ parts,       // (splits, batch, m, n), or null
               ProductParams p) {
    __shared__ ProductMemory<4> memory;
    product<4, true>(memory, a, b, bias, c, parts, p);
}

// Tiles of 64 rows, one piece for each block. Grid as above.
extern "C" __global__ void __launch_bounds__(THREADS)
product_64_f32(const float* __restrict__ a,
               const float* __restrict__ b,
               const float* __restrict__ bias,  // (m) or (n), or null
               float* __restrict__ c,           // written if there is one split
               float* __restrict__ parts,       // (splits, batch, m, n), or null
               ProductParams p) {
    __shared__ ProductMemory<8> memory;
    product<8, false>(memory, a, b, bias, c, parts, p);
}

// Adds the splits of every result, which may be none. Grid (ceil(batch * m * n / THREADS)).
extern "C" __global__ void __launch_bounds__(THREADS)
product_sum_f32(const float* __restrict__ parts,  // (splits, batch, m, n)
                const float* __restrict__ bias,   // (m) or (n), or null
                float* __restrict__ c,
                ProductParams p) {
    u64 at = global_thread(), results = (u64)p.batch * p.m * p.n;
    if (at >= results) return;
    float sum = 0.0f;
    for (u32 split = 0; split < p.splits; split++) sum += parts[split * results + at];
    u32 m = (u32)(at / p.n % p.m), n = (u32)(at % p.n);
    float* row = c + at / p.n / p.m * p.c.batch + offset(m, p.m_inner, p.c.row_outer, p.c.row);
    float* place = row + offset(n, p.n_inner, p.c.col_outer, p.c.col);
    *place = finished(bias, p, m, n, sum, place);
}
