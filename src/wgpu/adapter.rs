//! The adapters of this machine, and how one is chosen.

use super::health::now;
use crate::error::{Error, Result};
use std::fmt;

/// What an adapter is made of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum AdapterKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the host's memory.
    Integrated,
    /// A GPU handed to a virtual machine.
    Virtual,
    /// Something that does not say what it is.
    Other,
    /// A driver that computes on the host's processor, such as Mesa's llvmpipe.
    Software,
}

impl fmt::Display for AdapterKind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            AdapterKind::Discrete => "discrete GPU",
            AdapterKind::Integrated => "integrated GPU",
            AdapterKind::Virtual => "virtual GPU",
            AdapterKind::Other => "adapter",
            AdapterKind::Software => "software",
        })
    }
}

/// One adapter as [`adapters`] lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Adapter {
    /// Its name, as the driver gives it.
    pub name: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// What it is made of.
    pub kind: AdapterKind,
    /// Driver and its version.
    pub driver: String,
}

impl fmt::Display for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} ({}, {}, {})", self.name, self.kind, self.backend, self.driver)
    }
}

impl Adapter {
    pub(super) fn of(info: &::wgpu::AdapterInfo) -> Self {
        let kind = match info.device_type {
            ::wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
            ::wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
            ::wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
            ::wgpu::DeviceType::Cpu => AdapterKind::Software,
            ::wgpu::DeviceType::Other => AdapterKind::Other,
        };
        let driver = format!("{} {}", info.driver, info.driver_info);
        let backend = info.backend.to_str().to_owned();
        Adapter { name: info.name.clone(), backend, kind, driver: driver.trim().to_owned() }
    }
}

/// Which adapter to take.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Choice {
    /// The first of the best kind: discrete, integrated, virtual, other, software.
    #[default]
    Best,
    /// By its place in [`adapters`].
    Index(usize),
    /// The first whose name contains this, in any case.
    Name(String),
    /// The first of a kind.
    Kind(AdapterKind),
}

impl From<&str> for Choice {
    /// As a person names an adapter: by its place among [`adapters`], or by part of its name; `best` and nothing are
    /// [`Choice::Best`].
    fn from(name: &str) -> Self {
        match name.parse() {
            Ok(at) => Choice::Index(at),
            Err(_) if name.is_empty() || name == "best" => Choice::Best,
            Err(_) => Choice::Name(name.to_owned()),
        }
    }
}

/// Every adapter that wgpu finds, in the order that [`Choice::Index`] counts.
///
/// ```
/// use foveate::wgpu::{Choice, Options, Wgpu, adapters};
/// # fn main() -> foveate::Result<()> {
/// let found = adapters();
/// for (at, adapter) in found.iter().enumerate() {
///     println!("{at}: {adapter}");
/// }
/// if let Some(last) = found.len().checked_sub(1) {
///     let device = Wgpu::open(&Options { adapter: Choice::Index(last), ..Options::default() })?;
///     assert_eq!(device.adapter(), &found[last]);
/// }
/// # Ok(()) }
/// ```
pub fn adapters() -> Vec<Adapter> {
    found().iter().map(|adapter| Adapter::of(&adapter.get_info())).collect()
}

fn found() -> Vec<::wgpu::Adapter> {
    // Without a backend for this platform `Instance::new` would panic.
    let backends = ::wgpu::Instance::enabled_backend_features();
    if backends.is_empty() {
        return Vec::new();
    }
    let instance = ::wgpu::Instance::new(::wgpu::InstanceDescriptor::new_without_display_handle());
    now(instance.enumerate_adapters(backends))
}

/// The adapter chosen, or why there is none.
pub(super) fn choose(choice: &Choice) -> Result<::wgpu::Adapter> {
    let mut found = found();
    let list: Vec<Adapter> = found.iter().map(|adapter| Adapter::of(&adapter.get_info())).collect();
    match pick(choice, &list) {
        Some(at) => Ok(found.swap_remove(at)),
        None => Err(absent(choice, &list)),
    }
}

fn pick(choice: &Choice, list: &[Adapter]) -> Option<usize> {
    match choice {
        Choice::Best => (0..list.len()).min_by_key(|&at| list[at].kind),
        Choice::Index(at) => Some(*at).filter(|at| *at < list.len()),
        Choice::Name(name) => {
            let name = name.to_lowercase();
            list.iter().position(|adapter| adapter.name.to_lowercase().contains(&name))
        }
        Choice::Kind(kind) => list.iter().position(|adapter| adapter.kind == *kind),
    }
}

fn absent(choice: &Choice, list: &[Adapter]) -> Error {
    let why = if list.is_empty() {
        "no adapter found: install a GPU driver, or a software one such as Debian's mesa-vulkan-drivers"
            .to_owned()
    } else {
        let names: Vec<String> = list.iter().enumerate().map(|(at, a)| format!("{at}: {a}")).collect();
        format!("no adapter matches; there are {}", names.join("; "))
    };
    let device = match choice {
        Choice::Best => "wgpu".to_owned(),
        Choice::Index(at) => format!("wgpu:{at}"),
        Choice::Name(name) => format!("wgpu:{name}"),
        Choice::Kind(kind) => format!("wgpu ({kind})"),
    };
    Error::NoDevice { device, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Vec<Adapter> {
        let adapter = |name: &str, kind| Adapter {
            name: name.into(),
            backend: "vulkan".into(),
            kind,
            driver: "1".into(),
        };
        vec![
            adapter("llvmpipe", AdapterKind::Software),
            adapter("Small GPU", AdapterKind::Integrated),
            adapter("Big GPU", AdapterKind::Discrete),
            adapter("Big GPU", AdapterKind::Discrete),
        ]
    }

    #[test]
    fn adapters_are_chosen_by_kind_place_and_name() {
        assert_eq!(pick(&Choice::Best, &list()), Some(2));
        assert_eq!(pick(&Choice::Best, &list()[..1]), Some(0));
        assert_eq!(pick(&Choice::Index(3), &list()), Some(3));
        assert_eq!(pick(&Choice::Index(4), &list()), None);
        assert_eq!(pick(&Choice::Name("small".into()), &list()), Some(1));
        assert_eq!(pick(&Choice::Kind(AdapterKind::Software), &list()), Some(0));
        assert_eq!(pick(&Choice::Kind(AdapterKind::Virtual), &list()), None);
    }

    #[test]
    fn adapters_are_named_as_a_person_types_them() {
        assert_eq!(Choice::from("1"), Choice::Index(1));
        assert_eq!(Choice::from("GeForce 4090"), Choice::Name("GeForce 4090".into()));
        assert_eq!((Choice::from("best"), Choice::from("")), (Choice::Best, Choice::Best));
    }

    #[test]
    fn an_absent_adapter_is_an_error_that_lists_the_others() {
        let Error::NoDevice { device, why } = absent(&Choice::Index(9), &list()) else { panic!() };
        assert_eq!(device, "wgpu:9");
        assert!(why.contains("0: llvmpipe (software, vulkan, 1)"), "{why}");
        let Error::NoDevice { why, .. } = absent(&Choice::Best, &[]) else { panic!() };
        assert!(why.contains("mesa-vulkan-drivers"));
    }
}
