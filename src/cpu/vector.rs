//! Explicit vectors of f32, for the kernels whose registers must be planned: a trait with the dozen operations they
//! need and its three implementations (AVX-512F, AVX2 with FMA, portable).
//!
//! A kernel is a type that implements [`Kernel`]. [`run`] enters a function compiled with the features of the
//! [`Level`] asked for; everything below it is `#[inline(always)]`, so it is compiled with those features too. Plain
//! loops are better served by [`vectorised!`](super::simd::vectorised), which lets the compiler plan. Results differ
//! between levels (the portable one rounds twice per multiply-add), never between thread counts.

use super::simd::Level;

/// Runs `kernel`, compiled for `level`.
///
/// # Safety
/// What the kernel itself demands, and that the processor has the level: it is at most [`level`](super::simd::level).
pub(crate) unsafe fn run<K: Kernel>(level: Level, kernel: K) -> K::Output {
    // SAFETY: the caller vouches for both conditions.
    unsafe {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => Avx512::enter(kernel),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => Avx2::enter(kernel),
            _ => Portable::enter(kernel),
        }
    }
}

/// Floats in a vector of `level`, which is also the number of channels in a block of the blocked layout.
pub(crate) fn lanes(level: Level) -> usize {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => Avx512::LANES,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => Avx2::LANES,
        _ => Portable::LANES,
    }
}

/// A computation written for any vector width.
pub(crate) trait Kernel {
    type Output;
    /// Must be `#[inline(always)]`, as must every function it calls with vectors in its arguments.
    ///
    /// # Safety
    /// The processor has the features of `S`; the rest is the kernel's own contract.
    unsafe fn run<S: Simd>(self) -> Self::Output;
}

/// A vector of `LANES` floats. All pointers may be unaligned.
///
/// # Safety
/// Every function demands the processor features of the implementation, and valid pointers for what it reads and
/// writes.
#[allow(clippy::missing_safety_doc)]
pub(crate) trait Simd: Copy + 'static {
    const LANES: usize;
    /// How many pixels of two vectors of channels a register tile holds: 2·TILE sums, two vectors of weights and
    /// one pixel fill the register file.
    const TILE: usize;
    type V: Copy;

    /// Calls `kernel.run::<Self>()` inside a function that has this instruction set enabled.
    unsafe fn enter<K: Kernel>(kernel: K) -> K::Output;

    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// a·b + c, rounded once where the hardware can.
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger of each pair; `b` where `a` is not a number.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;

    /// `dst[j * dst_step + i] = src[i * src_step + j]` for `i < rows`, `j < cols`, both at most LANES. Lanes
    /// `rows ..` of each row written become zero when `pad` is set and are left alone otherwise.
    unsafe fn transpose(
        src: *const f32,
        src_step: usize,
        rows: usize,
        cols: usize,
        dst: *mut f32,
        dst_step: usize,
        pad: bool,
    );
}

/// Four floats in an array.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

/// Applies `f` lane by lane.
#[inline(always)]
fn each(a: [f32; 4], b: [f32; 4], f: impl Fn(f32, f32) -> f32) -> [f32; 4] {
    [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
}

impl Simd for Portable {
    const LANES: usize = 4;
    const TILE: usize = 5;
    type V = [f32; 4];

    #[inline(never)]
    unsafe fn enter<K: Kernel>(kernel: K) -> K::Output {
        // SAFETY: needs no features; the kernel's contract is the caller's.
        unsafe { kernel.run::<Self>() }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; 4] {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> [f32; 4] {
        // SAFETY: the caller passes a pointer to four floats.
        unsafe { p.cast::<[f32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: [f32; 4]) {
        // SAFETY: the caller passes a pointer to four floats.
        unsafe { p.cast::<[f32; 4]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn add(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(a, b, |x, y| x + y)
    }
    #[inline(always)]
    unsafe fn sub(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(a, b, |x, y| x - y)
    }
    #[inline(always)]
    unsafe fn mul(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(a, b, |x, y| x * y)
    }
    #[inline(always)]
    unsafe fn mul_add(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        each(each(a, b, |x, y| x * y), c, |x, y| x + y)
    }
    #[inline(always)]
    unsafe fn max(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(a, b, |x, y| if x > y { x } else { y })
    }
    #[inline(always)]
    unsafe fn transpose(
        src: *const f32,
        src_step: usize,
        rows: usize,
        cols: usize,
        dst: *mut f32,
        dst_step: usize,
        pad: bool,
    ) {
        let written = if pad { Self::LANES } else { rows };
        for j in 0..cols {
            for i in 0..written {
                // SAFETY: i < rows and j < cols lie inside the blocks the caller vouches for.
                unsafe {
                    *dst.add(j * dst_step + i) = if i < rows { *src.add(i * src_step + j) } else { 0.0 }
                };
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Kernel, Simd};
    use std::arch::x86_64::*;

    /// 256-bit vectors.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2;

    /// 512-bit vectors.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512;

    #[inline(never)]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn enter_avx2<K: Kernel>(kernel: K) -> K::Output {
        // SAFETY: the caller has checked the features and upholds the kernel's contract.
        unsafe { kernel.run::<Avx2>() }
    }

    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
    unsafe fn enter_avx512<K: Kernel>(kernel: K) -> K::Output {
        // SAFETY: the caller has checked the features and upholds the kernel's contract.
        unsafe { kernel.run::<Avx512>() }
    }

    // SAFETY of every block below: the trait demands the processor features, and valid pointers.
    impl Simd for Avx2 {
        const LANES: usize = 8;
        const TILE: usize = 6;
        type V = __m256;

        #[inline(always)]
        unsafe fn enter<K: Kernel>(kernel: K) -> K::Output {
            // SAFETY: the trait demands the features of the processor and valid pointers.
            unsafe { enter_avx2(kernel) }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> __m256 {
            // SAFETY: the trait demands the features of the processor and valid pointers.
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> __m256 {
            // SAFETY: the trait demands the features of the processor and valid pointers.
            unsafe { _mm256_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: __m256) {
            // SAFETY: the trait demands the features of the processor and valid pointers.
            unsafe { _mm256_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn add(a: __m256, b: __m256) -> __m256 {
            // SAFETY: the trait demands the features of the processor and valid pointers.
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m256, b: __m256) -> __m256 {
            // SAFETY: the trait demands the features of the processor and valid pointers.
            unsafe { _mm256_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m256, b: __m256) -> __m256 {
            // SAFETY: the trait demands the features of the processor and valid pointers.
            unsafe { _mm256_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
            // SAFETY: the trait demands the features of the processor and valid pointers.
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn max(a: __m256, b: __m256) -> __m256 {
            // SAFETY: the trait demands the features of the processor and valid pointers.
            unsafe { _mm256_max_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn transpose(
            src: *const f32,
            src_step: usize,
            rows: usize,
            cols: usize,
            dst: *mut f32,
            dst_step: usize,
            pad: bool,
        ) {
            // SAFETY: masked loads and stores touch only the rows and columns the caller vouches for.
            unsafe {
                let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
                let in_cols = _mm256_cmpgt_epi32(_mm256_set1_epi32(cols as i32), lane);
                let kept = if pad { 8 } else { rows as i32 };
                let in_rows = _mm256_cmpgt_epi32(_mm256_set1_epi32(kept), lane);
                let mut r = [_mm256_setzero_ps(); 8];
                for (i, r) in r.iter_mut().enumerate() {
                    if i < rows {
                        *r = _mm256_maskload_ps(src.add(i * src_step), in_cols);
                    }
                }
                let mut t = [_mm256_setzero_ps(); 8];
                for i in 0..4 {
                    t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                    t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
                }
                for i in 0..2 {
                    let q = 4 * i;
                    r[q] = _mm256_shuffle_ps::<0x44>(t[q], t[q + 2]);
                    r[q + 1] = _mm256_shuffle_ps::<0xee>(t[q], t[q + 2]);
                    r[q + 2] = _mm256_shuffle_ps::<0x44>(t[q + 1], t[q + 3]);
                    r[q + 3] = _mm256_shuffle_ps::<0xee>(t[q + 1], t[q + 3]);
                }
                for i in 0..4 {
                    t[i] = _mm256_permute2f128_ps::<0x20>(r[i], r[i + 4]);
                    t[i + 4] = _mm256_permute2f128_ps::<0x31>(r[i], r[i + 4]);
                }
                for (j, t) in t.iter().enumerate() {
                    if j < cols {
                        _mm256_maskstore_ps(dst.add(j * dst_step), in_rows, *t);
                    }
                }
            }
        }
    }

    // SAFETY of every block below: the trait demands the processor features, and valid pointers.
    impl Simd for Avx512 {
        const LANES: usize = 16;
        const TILE: usize = 14;
        type V = __m512;

        #[inline(always)]
        unsafe fn enter<K: Kernel>(kernel: K) -> K::Output {
            // SAFETY: the trait demands the features of the processor and valid pointers.
            unsafe { enter_avx512(kernel) }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            // SAFETY: the trait demands the features of the processor and valid pointers.
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> __m512 {
            // SAFETY: the trait demands the features of the processor and valid pointers.
            unsafe { _mm512_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: __m512) {
            // SAFETY: the trait demands the features of the processor and valid pointers.
            unsafe { _mm512_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            // SAFETY: the trait demands the features of the processor and valid pointers.
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m512, b: __m512) -> __m512 {
            // SAFETY: the trait demands the features of the processor and valid pointers.
            unsafe { _mm512_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m512, b: __m512) -> __m512 {
            // SAFETY: the trait demands the features of the processor and valid pointers.
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: the trait demands the features of the processor and valid pointers.
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn max(a: __m512, b: __m512) -> __m512 {
            // SAFETY: the trait demands the features of the processor and valid pointers.
            unsafe { _mm512_max_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn transpose(
            src: *const f32,
            src_step: usize,
            rows: usize,
            cols: usize,
            dst: *mut f32,
            dst_step: usize,
            pad: bool,
        ) {
            // SAFETY: masked loads and stores touch only the rows and columns the caller vouches for.
            unsafe {
                let in_cols = ((1u32 << cols) - 1) as u16;
                let in_rows = if pad { 0xffff } else { ((1u32 << rows) - 1) as u16 };
                let mut r = [_mm512_setzero_ps(); 16];
                for (i, r) in r.iter_mut().enumerate() {
                    if i < rows {
                        *r = _mm512_maskz_loadu_ps(in_cols, src.add(i * src_step));
                    }
                }
                let mut t = [_mm512_setzero_ps(); 16];
                // 2×2 blocks, then 4×4 blocks, inside each 128-bit quarter.
                for i in 0..8 {
                    t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                    t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
                }
                for i in 0..4 {
                    let q = 4 * i;
                    r[q] = _mm512_shuffle_ps::<0x44>(t[q], t[q + 2]);
                    r[q + 1] = _mm512_shuffle_ps::<0xee>(t[q], t[q + 2]);
                    r[q + 2] = _mm512_shuffle_ps::<0x44>(t[q + 1], t[q + 3]);
                    r[q + 3] = _mm512_shuffle_ps::<0xee>(t[q + 1], t[q + 3]);
                }
                // r[4a + k], quarter b, now holds column 4b + k of rows 4a .. 4a + 4: a 4×4 transpose of quarters.
                for k in 0..4 {
                    let lo01 = _mm512_shuffle_f32x4::<0x44>(r[k], r[4 + k]);
                    let hi01 = _mm512_shuffle_f32x4::<0xee>(r[k], r[4 + k]);
                    let lo23 = _mm512_shuffle_f32x4::<0x44>(r[8 + k], r[12 + k]);
                    let hi23 = _mm512_shuffle_f32x4::<0xee>(r[8 + k], r[12 + k]);
                    t[k] = _mm512_shuffle_f32x4::<0x88>(lo01, lo23);
                    t[4 + k] = _mm512_shuffle_f32x4::<0xdd>(lo01, lo23);
                    t[8 + k] = _mm512_shuffle_f32x4::<0x88>(hi01, hi23);
                    t[12 + k] = _mm512_shuffle_f32x4::<0xdd>(hi01, hi23);
                }
                for (j, t) in t.iter().enumerate() {
                    if j < cols {
                        _mm512_mask_storeu_ps(dst.add(j * dst_step), in_rows, *t);
                    }
                }
            }
        }
    }
}
