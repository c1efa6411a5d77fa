//! The permutation on the CPU: axes that stay together are one axis, and two axes that change places are walked in
//! square blocks, so that both sides of the copy use whole cache lines.

use super::Transpose;
use crate::{
    cpu::{In, Out},
    error::Result,
};
use bytemuck::Pod;
use rayon::prelude::*;
use smallvec::{SmallVec, smallvec};

/// Side of a block, in elements.
const BLOCK: usize = 16;
/// Elements from which the work is spread over threads.
const SPREAD: usize = 1 << 16;

/// An axis of the result: its size, and how far a step along it goes in the operand and in the result.
#[derive(Clone, Copy)]
struct Axis {
    size: usize,
    from: usize,
    to: usize,
}

impl Transpose {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let (axes, dtype) = (self.axes(&ins[0].dims), ins[0].dtype);
        let (x, y) = (ins[0].bytes, &mut *outs[0].bytes);
        if y.is_empty() {
            return Ok(());
        }
        match dtype.size() {
            1 => permute::<u8>(x, y, &axes),
            2 => permute::<u16>(bytemuck::cast_slice(x), bytemuck::cast_slice_mut(y), &axes),
            8 => permute::<u64>(bytemuck::cast_slice(x), bytemuck::cast_slice_mut(y), &axes),
            _ => permute::<u32>(bytemuck::cast_slice(x), bytemuck::cast_slice_mut(y), &axes),
        }
        Ok(())
    }

    /// The axes of the result, outermost first, without those of size 1; neighbours that stay neighbours are merged.
    fn axes(&self, dims: &[usize]) -> SmallVec<[Axis; 6]> {
        let mut axes: SmallVec<[Axis; 6]> = SmallVec::new();
        for &axis in &self.permutation {
            let next = Axis { size: dims[axis], from: dims[axis + 1..].iter().product(), to: 0 };
            match axes.last_mut() {
                _ if next.size == 1 => {}
                Some(last) if last.from == next.from * next.size => {
                    *last = Axis { size: last.size * next.size, ..next };
                }
                _ => axes.push(next),
            }
        }
        let mut to = 1;
        for axis in axes.iter_mut().rev() {
            axis.to = to;
            to *= axis.size;
        }
        axes
    }
}

fn permute<T: Pod + Send + Sync>(x: &[T], y: &mut [T], axes: &[Axis]) {
    let [first, rest @ ..] = axes else {
        return y.copy_from_slice(x);
    };
    if rest.is_empty() {
        return y.copy_from_slice(x);
    }
    if y.len() < SPREAD {
        return part(x, y, axes);
    }
    // Each task has some steps of the outermost axis, at least a block where there are that many.
    let steps = (SPREAD / 2).div_ceil(first.to).next_multiple_of(BLOCK).min(first.size.div_ceil(4)).max(1);
    y.par_chunks_mut(steps * first.to).enumerate().for_each(|(task, y)| {
        let mut mine: SmallVec<[Axis; 6]> = axes.into();
        mine[0].size = y.len() / first.to;
        part(&x[task * steps * first.from..], y, &mine);
    });
}

/// Copies everything below `axes`, of which there are at least two.
fn part<T: Pod>(x: &[T], y: &mut [T], axes: &[Axis]) {
    let last = axes[axes.len() - 1];
    // The axis along which the operand is contiguous.
    let near = axes.iter().position(|axis| axis.from == 1).unwrap_or(axes.len() - 1);
    let outer: SmallVec<[Axis; 6]> =
        (0..axes.len() - 1).filter(|&at| at != near).map(|at| axes[at]).collect();
    let mut index: SmallVec<[usize; 6]> = smallvec![0; outer.len()];
    let (mut from, mut to) = (0, 0);
    loop {
        if near == axes.len() - 1 {
            y[to..to + last.size].copy_from_slice(&x[from..from + last.size]);
        } else {
            blocks(&x[from..], &mut y[to..], axes[near], last);
        }
        let mut at = outer.len();
        loop {
            if at == 0 {
                return;
            }
            at -= 1;
            index[at] += 1;
            from += outer[at].from;
            to += outer[at].to;
            if index[at] < outer[at].size {
                break;
            }
            from -= outer[at].from * outer[at].size;
            to -= outer[at].to * outer[at].size;
            index[at] = 0;
        }
    }
}

/// Transposes a plane: `near` is contiguous in the operand, `last` in the result.
fn blocks<T: Pod>(x: &[T], y: &mut [T], near: Axis, last: Axis) {
    for j in (0..near.size).step_by(BLOCK) {
        for i in (0..last.size).step_by(BLOCK) {
            for j in j..(j + BLOCK).min(near.size) {
                for i in i..(i + BLOCK).min(last.size) {
                    y[j * near.to + i] = x[i * last.from + j];
                }
            }
        }
    }
}
