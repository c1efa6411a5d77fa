//! Work on rows, for kernels that use `common/lanes.wgsl`.

/// Threads of a workgroup of such a kernel.
pub const ROW_THREADS: u32 = 128;

/// The tuning constant LANES: how many threads share a row of `size` elements that lie `distance` apart. It follows from
/// the shape alone, and so does the order of a sum.
pub fn lanes(size: usize, distance: usize) -> u32 {
    // Threads on neighbouring rows read neighbouring elements where the elements of a row lie apart.
    match (size, distance) {
        (..=16, _) => 1,
        (..=256, 8..) => 1,
        (..=128, _) => 8,
        (..=1024, _) => 32,
        _ => ROW_THREADS,
    }
}

/// Workgroups for `rows` rows.
pub fn row_groups(rows: usize, lanes: u32) -> usize {
    rows.div_ceil((ROW_THREADS / lanes) as usize)
}
