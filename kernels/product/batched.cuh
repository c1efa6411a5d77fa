// The products of product.cu, in tiles of any kind, whose header is included before.
#pragma once

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

// `T` is the kind of tile.
template <typename T>
struct ProductMemory {
    typename T::Memory tiles;
    i64 rows[T::M];           // where the rows of a begin; negative: there is none
    i64 columns[TILE_N];      // and the columns of b
    Distances steps[2][T::K];
};

// The operands of a tile: k in [first, end).
template <typename T>
struct Matrices {
    ProductMemory<T>& memory;
    const float* __restrict__ a;  // of this product
    const float* __restrict__ b;
    const ProductParams& p;
    u32 first, end;

    // Neighbouring threads fetch neighbours in memory.
    __device__ Spread<T::EACH> left_spread() const {
        return p.a.col < p.a.row ? T::along_k() : T::along_side(T::M);
    }
    __device__ Spread<T::EACH> right_spread() const {
        return p.b.row < p.b.col ? T::along_k() : T::along_side(TILE_N);
    }

    __device__ void locate(u32 tile_m, u32 tile_n) {
        for (u32 i = threadIdx.x; i < T::M; i += THREADS) {
            u32 m = tile_m + i;
            memory.rows[i] = m < p.m ? offset(m, p.m_inner, p.a.row_outer, p.a.row) : -1;
        }
        for (u32 i = threadIdx.x; i < TILE_N; i += THREADS) {
            u32 n = tile_n + i;
            memory.columns[i] = n < p.n ? offset(n, p.n_inner, p.b.col_outer, p.b.col) : -1;
        }
    }

    __device__ void prepare(u32 at) {
        if (threadIdx.x >= T::K) return;
        u32 k = first + at * T::K + threadIdx.x;
        Distances none = {-1, -1};
        memory.steps[at % 2][threadIdx.x] =
            k < end ? Distances{offset(k, p.k_inner, p.a.col_outer, p.a.col), offset(k, p.k_inner, p.b.row_outer, p.b.row)}
                    : none;
    }

    __device__ void fetch(u32 tile, float* left, float* right) const {
        Spread<T::EACH> at = left_spread();
#pragma unroll
        for (u32 i = 0; i < T::LEFT_EACH; i++) {
            i64 row = memory.rows[at.side(i)], step = memory.steps[tile % 2][at.k(i)].a;
            left[i] = row >= 0 && step >= 0 ? a[row + step] : 0.0f;
        }
        at = right_spread();
#pragma unroll
        for (u32 i = 0; i < T::RIGHT_EACH; i++) {
            i64 column = memory.columns[at.side(i)], step = memory.steps[tile % 2][at.k(i)].b;
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

// Where columns that a thread has side by side lie in a row of c.
template <u32 RUN>
struct Columns {
    u32 first, count;
    i64 at[RUN];
    bool side_by_side;

    __device__ Columns(const ProductParams& p, u32 n) : first(n), count(n < p.n ? min(RUN, p.n - n) : 0) {
#pragma unroll
        for (u32 j = 0; j < RUN; j++) at[j] = offset(n + j, p.n_inner, p.c.col_outer, p.c.col);
        side_by_side = p.c.col == 1 && p.n_inner >= p.n;
    }
};

// Writes a thread's results of one row m, at once where they lie side by side, given their sums over k.
template <u32 RUN>
__device__ inline void write_row(float* row, const Columns<RUN>& columns, const float* __restrict__ bias,
                                 const ProductParams& p, u32 m, Run<float, RUN> sums) {
#pragma unroll
    for (u32 j = 0; j < RUN; j++) {
        if (j >= columns.count) break;
        float* place = row + columns.at[j];
        sums.item[j] = finished(bias, p, m, columns.first + j, sums.item[j], place);
        if (!columns.side_by_side) *place = sums.item[j];
    }
    float* to = row + columns.at[0];
    if (columns.side_by_side) store(to, sums, columns.count, (u64)to % sizeof(sums) == 0);
}

// Writes columns j..j + RUN of a thread's results: to c, or to its split's part.
template <typename T>
__device__ inline void write(const float (&sums)[T::ROWS][T::COLS], u32 j, u32 tile_m, u32 tile_n,
                             const float* __restrict__ bias, float* c, float* part, const ProductParams& p) {
    Columns<T::RUN> columns(p, tile_n + T::column(j));
    if (columns.count == 0) return;
#pragma unroll
    for (u32 r = 0; r < T::ROWS; r++) {
        u32 m = tile_m + T::row(r);
        if (m >= p.m) break;
        Run<float, T::RUN> of_row;
#pragma unroll
        for (u32 i = 0; i < T::RUN; i++) of_row.item[i] = sums[r][j + i];
        if (p.splits == 1) {
            write_row(c + offset(m, p.m_inner, p.c.row_outer, p.c.row), columns, bias, p, m, of_row);
        } else {
            store(part + (u64)m * p.n + columns.first, of_row, columns.count, p.n % T::RUN == 0);
        }
    }
}

// `PIECES`: a block may have several pieces of k, whose sums take registers of their own.
template <typename T, bool PIECES>
__device__ inline void product(ProductMemory<T>& memory, const float* __restrict__ a, const float* __restrict__ b,
                               const float* __restrict__ bias, float* __restrict__ c, float* __restrict__ parts,
                               const ProductParams& p) {
    u32 across = ceil_div(p.n, TILE_N), down = ceil_div(p.m, T::M);
    u32 tile_n = blockIdx.x % across * TILE_N, tile_m = blockIdx.x / across % down * T::M;
    u32 z = blockIdx.x / across / down;
    u32 item = z / p.splits, split = z % p.splits;

    Matrices<T> operands = {memory, a + item * p.a.batch, b + item * p.b.batch, p, 0, 0};
    operands.locate(tile_m, tile_n);
    T tile;
    float sums[T::ROWS][T::COLS] = {};
    u32 end_piece = PIECES && p.splits == 1 ? ceil_div(p.k, p.k_per_piece) : split + 1;
    for (u32 piece = split; piece < end_piece; piece++) {
        operands.first = piece * p.k_per_piece;
        operands.end = min(operands.first + p.k_per_piece, p.k);
        u32 count = operands.first < operands.end ? ceil_div(operands.end - operands.first, T::K) : 0;
        run_tiles(tile, memory.tiles, count, operands);
#pragma unroll
        for (u32 r = 0; r < T::ROWS; r++)
#pragma unroll
            for (u32 j = 0; j < T::COLS; j++) sums[r][j] += tile.c[r][j];
        if (!PIECES) break;
    }

    float* part = parts + ((u64)split * p.batch + item) * p.m * p.n;
#pragma unroll
    for (u32 j = 0; j < T::COLS; j += T::RUN) {
        write<T>(sums, j, tile_m, tile_n, bias, c + item * p.c.batch, part, p);
    }
}

// Grid (tiles along n * tiles along m * batch * splits).
#define PRODUCT(name, T, PIECES)                                                            \
    extern "C" __global__ void __launch_bounds__(THREADS)                                   \
    name(const float* __restrict__ a,                                                       \
         const float* __restrict__ b,                                                       \
         const float* __restrict__ bias, /* (m) or (n), or null */                          \
         float* __restrict__ c,          /* written if there is one split */                \
         float* __restrict__ parts,      /* (splits, batch, m, n), or null */               \
         ProductParams p) {                                                                 \
        __shared__ ProductMemory<T> memory;                                                 \
        product<T, PIECES>(memory, a, b, bias, c, parts, p);                                \
    }
