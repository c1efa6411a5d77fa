//! What a kernel's text says about itself: bindings, parameters, workgroup size and memory. Nothing of this is written
//! a second time in Rust, so nothing can disagree; what Rust must know at compile time (the parameter struct) is
//! compared with it.

use ::wgpu::naga;

/// How a kernel uses a storage binding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// `var<storage, read>`
    Read,
    /// `var<storage, read_write>` that is only read: another binding of the same buffer is written, and a buffer has one
    /// kind of access in a launch.
    Beside,
    /// `var<storage, read_write>`
    Write,
}

/// What one entry point of a WGSL text needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The storage bindings it uses, by number.
    pub bindings: Vec<(u32, Access)>,
    /// Fields of the uniform struct at binding 0: name and type.
    pub fields: Vec<(String, String)>,
    /// Bytes of that struct.
    pub parameter_bytes: u32,
    /// Threads of a workgroup, by axis.
    pub threads: [u32; 3],
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Whether the text computes with 16-bit floats, which not every adapter can.
    pub f16: bool,
}

/// What a text may use beyond what every adapter has; a launch checks that its device has it.
const CAPABILITIES: naga::valid::Capabilities =
    naga::valid::Capabilities::SHADER_FLOAT16.union(naga::valid::Capabilities::SHADER_INT64);

/// Parses and validates `text` and reads off what `entry` needs; otherwise says what is wrong, and where.
pub(super) fn reflect(name: &str, text: &str, entry: &str) -> Result<Facts, String> {
    let module = naga::front::wgsl::parse_str(text).map_err(|e| e.emit_to_string_with_path(text, name))?;
    let mut validator = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), CAPABILITIES);
    let info = validator.validate(&module).map_err(|e| e.emit_to_string_with_path(text, name))?;
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx()).map_err(|e| e.to_string())?;

    let at = module.entry_points.iter().position(|e| e.name == entry);
    let at = at.ok_or_else(|| format!("{name} has no entry point {entry}"))?;
    let used = info.get_entry_point(at);
    let mut facts = Facts {
        bindings: Vec::new(),
        fields: Vec::new(),
        parameter_bytes: 0,
        threads: module.entry_points[at].workgroup_size,
        workgroup_bytes: 0,
        // The parser takes no 16-bit float without this line.
        f16: text.contains("enable f16;"),
    };
    for (handle, variable) in module.global_variables.iter() {
        if used[handle].is_empty() {
            continue;
        }
        let number = variable.binding.map(|binding| (binding.group, binding.binding));
        let called = variable.name.as_deref().unwrap_or("?");
        match (variable.space, number) {
            (naga::AddressSpace::WorkGroup, _) => {
                facts.workgroup_bytes += layouter[variable.ty].size.next_multiple_of(16);
            }
            (naga::AddressSpace::Uniform, Some((0, 0))) => {
                facts.parameter_bytes = layouter[variable.ty].size;
                facts.fields = fields(&module, variable.ty)?;
            }
            (naga::AddressSpace::Storage { access }, Some((0, number @ 1..))) => {
                let access = match access.contains(naga::StorageAccess::STORE) {
                    false => Access::Read,
                    true if used[handle].contains(naga::valid::GlobalUse::WRITE) => Access::Write,
                    true => Access::Beside,
                };
                facts.bindings.push((number, access));
            }
            (naga::AddressSpace::Private, _) => {}
            (space, number) => {
                return Err(format!(
                    "{name}: {called} is {space:?} at {number:?}; parameters are the uniform at group 0, binding 0, and \
                     storage is in group 0 from binding 1 on"
                ));
            }
        }
    }
    facts.bindings.sort_by_key(|binding| binding.0);
    Ok(facts)
}

/// Names and types of a struct of 32-bit scalars.
fn fields(module: &naga::Module, of: naga::Handle<naga::Type>) -> Result<Vec<(String, String)>, String> {
    let naga::TypeInner::Struct { members, .. } = &module.types[of].inner else {
        return Err("the uniform at binding 0 is not a struct".into());
    };
    let field = |member: &naga::StructMember| {
        let name = member.name.clone().unwrap_or_default();
        let kind = match module.types[member.ty].inner {
            naga::TypeInner::Scalar(naga::Scalar::U32) => "u32",
            naga::TypeInner::Scalar(naga::Scalar::I32) => "i32",
            naga::TypeInner::Scalar(naga::Scalar::F32) => "f32",
            _ => return Err(format!("parameter {name} is not a u32, i32 or f32")),
        };
        Ok((name, kind.to_owned()))
    };
    members.iter().map(field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
        struct Params { first: u32, scale: f32 }
        @group(0) @binding(0) var<uniform> params: Params;
        @group(0) @binding(1) var<storage, read> x: array<f32>;
        @group(0) @binding(2) var<storage, read> unused: array<f32>;
        @group(0) @binding(3) var<storage, read_write> y: array<f32>;
        var<workgroup> tile: array<f32, 65>;
        @compute @workgroup_size(8, 4)
        fn main(@builtin(local_invocation_index) at: u32) {
            tile[at] = x[params.first + at];
            workgroupBarrier();
            y[at] = tile[at ^ 1u] * params.scale;
        }";

    #[test]
    fn the_text_tells_what_it_needs() {
        let facts = reflect("test", TEXT, "main").unwrap();
        let field = |name: &str, kind: &str| (name.to_owned(), kind.to_owned());
        let want = Facts {
            bindings: vec![(1, Access::Read), (3, Access::Write)],
            fields: vec![field("first", "u32"), field("scale", "f32")],
            parameter_bytes: 8,
            threads: [8, 4, 1],
            workgroup_bytes: 272,
            f16: false,
        };
        assert_eq!(facts, want);
    }

    #[test]
    fn what_is_only_read_is_told_from_what_is_written() {
        let text = TEXT.replace("read> x", "read_write> x");
        let bindings = reflect("test", &text, "main").unwrap().bindings;
        assert_eq!(bindings, [(1, Access::Beside), (3, Access::Write)]);
    }

    #[test]
    fn sixteen_bit_floats_are_seen() {
        let half = TEXT.replace("* params.scale;", "* f32(f16(params.scale));");
        assert!(!reflect("test", TEXT, "main").unwrap().f16);
        assert!(reflect("test", &format!("enable f16;\n{half}"), "main").unwrap().f16);
        assert!(reflect("test", &half, "main").unwrap_err().contains("f16"));
    }

    #[test]
    fn mistakes_are_found_before_a_device_sees_them() {
        let broken =
            |from: &str, to: &str| reflect("test.wgsl", &TEXT.replace(from, to), "main").unwrap_err();
        assert!(broken("tile[at ^ 1u]", "tiel[at ^ 1u]").contains("tiel"));
        assert!(broken("tile[at] =", "tile[70] =").contains("70"));
        assert!(broken("@binding(3)", "@binding(0)").contains("binding"));
        assert!(reflect("test", TEXT, "other").unwrap_err().contains("other"));
    }
}
