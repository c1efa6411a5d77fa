//! How a launch file describes a kernel: its texts, its entry point, its parameter struct and its tuning constants.

use super::{
    reflect::{Facts, reflect},
    unroll::unroll,
};
use crate::DType;
use std::{
    marker::PhantomData,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

/// A kernel's parameter struct, made by [`params!`](crate::wgpu_params).
pub trait Params: bytemuck::Pod {
    /// Names and types of the fields, in order: the same as those of the struct at binding 0 of the kernel's text.
    const FIELDS: &'static [(&'static str, &'static str)];
}

/// Values of a kernel's tuning constants, in the order in which the kernel names them. That of a type is one of [`element`].
pub type Tuning<'a> = &'a [u32];

/// The value of a tuning constant that is the type of stored elements: `f16` where a tensor holds that, `u32` where it
/// holds bytes, of which four are a word, else `f32`.
pub fn element(dtype: DType) -> u32 {
    match dtype {
        DType::F16 => 1,
        DType::U8 => 2,
        _ => 0,
    }
}

/// The types that [`element`] stands for.
const ELEMENTS: [&str; 3] = ["f32", "f16", "u32"];

/// A kernel: an entry point of a WGSL text. Made by [`kernel!`](crate::wgpu_kernel).
pub struct Kernel<P> {
    /// Its operation, for errors.
    pub op: &'static str,
    /// The texts that make up the module, joined.
    pub texts: &'static [&'static str],
    /// The function to run.
    pub entry: &'static str,
    /// Names of the constants that a launch sets: each a line `const NAME: u32 = 8u;` or `alias NAME = f32;` of the text.
    pub tuning: &'static [&'static str],
    id: OnceLock<usize>,
    parameters: PhantomData<fn(P)>,
}

static KERNELS: AtomicUsize = AtomicUsize::new(0);

impl<P: Params> Kernel<P> {
    /// Describes a kernel.
    pub const fn new(
        op: &'static str,
        texts: &'static [&'static str],
        entry: &'static str,
        tuning: &'static [&'static str],
    ) -> Self {
        Kernel { op, texts, entry, tuning, id: OnceLock::new(), parameters: PhantomData }
    }

    /// The kernel's slot in every device's table of pipelines.
    pub(super) fn id(&self) -> usize {
        *self.id.get_or_init(|| KERNELS.fetch_add(1, Ordering::Relaxed))
    }

    /// The module's text with the tuning constants set and marked loops written out.
    pub(super) fn text(&self, tuning: Tuning) -> Result<String, String> {
        if tuning.len() != self.tuning.len() {
            return Err(format!("{} tuning values for {:?}", tuning.len(), self.tuning));
        }
        let mut text = self.texts.join("\n");
        let mut half = false;
        for (name, &value) in self.tuning.iter().zip(tuning) {
            half |= set(&mut text, name, value)?;
        }
        if half {
            text.insert_str(0, "enable f16;\n");
        }
        unroll(&text)
    }

    /// What the text with these tuning constants says about itself; an error if it is not valid WGSL or its parameter
    /// struct is not `P`.
    pub fn facts(&self, tuning: Tuning) -> Result<Facts, String> {
        let text = self.text(tuning)?;
        let facts = reflect(self.op, &text, self.entry)?;
        let same = facts.fields.len() == P::FIELDS.len()
            && facts.fields.iter().zip(P::FIELDS).all(|(a, b)| a.0 == b.0 && a.1 == b.1);
        if !same {
            return Err(format!("the text's parameters are {:?}, Rust's are {:?}", facts.fields, P::FIELDS));
        }
        if facts.parameter_bytes as usize != size_of::<P>() {
            return Err(format!(
                "parameters take {} bytes, in Rust {}",
                facts.parameter_bytes,
                size_of::<P>()
            ));
        }
        Ok(facts)
    }
}

/// Sets the constant or the type `name` of a text. Whether it is f16 then.
fn set(text: &mut String, name: &str, value: u32) -> Result<bool, String> {
    let (constant, alias) = (format!("const {name}: u32 = "), format!("alias {name} = "));
    let (line, value) = match text.contains(&constant) {
        true => (constant, format!("{value}u")),
        false => (alias, ELEMENTS.get(value as usize).copied().unwrap_or_default().to_owned()),
    };
    let found = text.find(&line).map(|at| at + line.len());
    let range = found.and_then(|from| Some(from..from + text[from..].find(';')?));
    let range = range
        .ok_or_else(|| format!("the text has no line `const {name}: u32 = …;` or `alias {name} = …;`"))?;
    text.replace_range(range, &value);
    Ok(value == "f16")
}

/// Defines a kernel's parameter struct: fields of type `u32`, `i32` or `f32`, named as in the kernel's text.
#[macro_export]
macro_rules! wgpu_params {
    ($(#[$doc:meta])* $vis:vis struct $name:ident { $($(#[$about:meta])* $field:ident: $kind:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, ::bytemuck::Pod, ::bytemuck::Zeroable)]
        #[repr(C)]
        $vis struct $name { $($(#[$about])* $vis $field: $kind),* }

        impl $crate::wgpu::Params for $name {
            const FIELDS: &'static [(&'static str, &'static str)] =
                &[$((stringify!($field), stringify!($kind))),*];
        }
    };
}

/// Defines kernels that share texts, parameters and tuning constants, as statics, and a test that each is valid WGSL
/// with the parameters that Rust has for it, for every tuning listed:
///
/// ```ignore
/// foveate::wgpu_kernel! {
///     op: "unfold", texts: ["common/grid", "unfold/unfold"], params: UnfoldParams, tuning: [THREADS],
///     F32 = "unfold_f32", tried with [[64], [256]];
/// }
/// ```
#[macro_export]
macro_rules! wgpu_kernel {
    (
        op: $op:expr, texts: $texts:tt, params: $params:ty, tuning: $tuning:tt,
        $($name:ident = $entry:literal, tried with [$($tried:tt),+ $(,)?];)+
    ) => {
        $(pub(super) static $name: $crate::wgpu::Kernel<$params> = $crate::wgpu::Kernel::new(
            $op,
            $crate::wgpu_kernel!(@texts $texts),
            $entry,
            $crate::wgpu_kernel!(@names $tuning),
        );)+

        #[cfg(test)]
        #[test]
        fn texts_are_valid_and_their_parameters_those_of_rust() {
            $($({
                let tuning: &[u32] = &$tried;
                if let Err(what) = $name.facts(tuning) {
                    panic!("{} with {tuning:?}: {what}", stringify!($name));
                }
            })+)+
        }
    };
    (@texts [$($text:literal),+]) => {
        &[$(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/kernels/", $text, ".wgsl"))),+]
    };
    (@names [$($name:ident),*]) => { &[$(stringify!($name)),*] };
}
