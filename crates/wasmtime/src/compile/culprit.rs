//! Which function of a module the compiler panics at: it says so nowhere.
//!
//! So parts of the module are compiled again, with every function outside of
//! the part replaced by `unreachable`, and the part is halved until one
//! function is left.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::ops::Range;

use wasmtime_environ::wasmparser::{KnownCustom, Name, Parser, Payload, TypeRef};

/// A body without locals that is one `unreachable`, which fits any type; its
/// length comes first.
const STUB: [u8; 4] = [3, 0x00, 0x00, 0x0b];

/// A binary module, as far as its functions can be replaced.
struct Bodies<'a> {
    wasm: &'a [u8],
    /// The code section, its head included.
    section: Range<usize>,
    /// The bodies in it, each without its length.
    bodies: Vec<Range<usize>>,
    /// The number of functions that are imported.
    imported: u32,
}

/// Names the function for which `panics` is true when its body is the only one
/// that is not replaced. `None` if it takes more than one, or none.
pub(super) fn find(wasm: &[u8], panics: impl Fn(&[u8]) -> bool) -> Option<String> {
    let module = Bodies::read(wasm)?;
    let mut suspects = 0..module.bodies.len();
    while suspects.len() > 1 {
        let middle = suspects.start + suspects.len() / 2;
        if panics(&module.with_only(suspects.start..middle)) {
            suspects.end = middle;
        } else {
            suspects.start = middle;
        }
    }
    let guilty = panics(&module.with_only(suspects.clone())) && !panics(&module.with_only(0..0));
    let index = module.imported + u32::try_from(suspects.start).ok()?;
    guilty.then(|| match name(wasm, index) {
        Some(name) => format!("function {index} ({name:?})"),
        None => format!("function {index}"),
    })
}

impl<'a> Bodies<'a> {
    fn read(wasm: &'a [u8]) -> Option<Self> {
        let mut section = None;
        let mut bodies = Vec::new();
        let mut imported = 0;
        // Where the section that was last seen ends.
        let mut end = 0;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.ok()? {
                Payload::Version { range, .. } => end = range.end,
                Payload::CodeSectionStart { range, .. } => {
                    section = Some(end..range.end);
                }
                Payload::CodeSectionEntry(body) => bodies.push(body.range()),
                payload => {
                    if let Payload::ImportSection(imports) = &payload {
                        for import in imports.clone().into_imports() {
                            imported += u32::from(matches!(import.ok()?.ty, TypeRef::Func(_)));
                        }
                    }
                    if let Some((_, range)) = payload.as_section() {
                        end = range.end;
                    }
                }
            }
        }
        Some(Self {
            wasm,
            section: section?,
            bodies,
            imported,
        })
    }

    /// The module with only these functions, by their place in the code section.
    fn with_only(&self, kept: Range<usize>) -> Vec<u8> {
        let mut code = Vec::new();
        push_leb(&mut code, self.bodies.len());
        for (index, body) in self.bodies.iter().enumerate() {
            if kept.contains(&index) {
                push_leb(&mut code, body.len());
                code.extend_from_slice(&self.wasm[body.clone()]);
            } else {
                code.extend_from_slice(&STUB);
            }
        }
        let mut wasm = self.wasm[..self.section.start].to_vec();
        wasm.push(10);
        push_leb(&mut wasm, code.len());
        wasm.extend(code);
        wasm.extend_from_slice(&self.wasm[self.section.end..]);
        wasm
    }
}

/// Appends a number of at most 32 bits as WebAssembly encodes it.
fn push_leb(bytes: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// The name of a function in the name section.
fn name(wasm: &[u8], function: u32) -> Option<String> {
    for payload in Parser::new(0).parse_all(wasm) {
        let Payload::CustomSection(section) = payload.ok()? else {
            continue;
        };
        let KnownCustom::Name(names) = section.as_known() else {
            continue;
        };
        for subsection in names {
            if let Name::Function(names) = subsection.ok()? {
                let mut names = names.into_iter().filter_map(Result::ok);
                let found = names.find(|name| name.index == function)?;
                return Some(found.name.to_string());
            }
        }
    }
    None
}
