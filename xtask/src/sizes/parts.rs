//! Whose the parts of an image are.
//!
//! A part is an input section: a function, a constant, a static. It is
//!
//! 1. a crate's, if it comes from an object file of trapline's crates or of anyhow, or if
//!    it is generic code of theirs that the compiler put into the image's own object;
//! 2. the embedding's, if it is a function of that module of the image: trapline's inlined
//!    functions are in there;
//! 3. the rest's, if it can be reached from the entry of the image without any of these, or
//!    is of the heap or one of the functions that compilers call: every kernel has these;
//! 4. else only there because of them: a constant is counted with who refers to it,
//!    and a function of `core` or `alloc` stands for itself.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use object::elf::R_X86_64_REX_GOTPCRELX;
use object::elf::{R_X86_64_GOTPCREL, R_X86_64_GOTPCRELX, R_X86_64_PC32, R_X86_64_PLT32};
use object::read::elf::ElfFile64;
use object::{
    Architecture, LittleEndian, Object as _, ObjectSection as _, ObjectSymbol as _,
    RelocationFlags, RelocationTarget, SymbolKind,
};

use super::map::{self, Input};

/// The image's own crate, and the module of it that stands for trapline's embedding.
const IMAGE: &str = "trapline_minimal_image";
const EMBEDDING: &str = "trapline_minimal_image::embedding";
/// The section of the guest's code, which stands for what a compiler makes.
const GUEST: &str = ".text.guest";

/// What every kernel has: the functions that compilers call (`memcpy`), and a heap.
const LANGUAGE: &str = "compiler_builtins";
const ALLOCATOR: &str = "__rustc::";
const HEAP: &str = "talc::";

/// What kind of memory a part takes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    Text,
    /// Constants, those with addresses in them included (`.data.rel.ro`).
    Rodata,
    Data,
    Bss,
    /// Of each CPU.
    CpuLocal,
}

impl Kind {
    fn of(section: &str) -> Option<Self> {
        const BY_PREFIX: [(&str, Kind); 9] = [
            (".text", Kind::Text),
            (".rodata", Kind::Rodata),
            (".srodata", Kind::Rodata),
            (".data.rel.ro", Kind::Rodata),
            (".data", Kind::Data),
            (".sdata", Kind::Data),
            (".bss", Kind::Bss),
            (".sbss", Kind::Bss),
            (".trapline.cpu_local", Kind::CpuLocal),
        ];
        BY_PREFIX
            .into_iter()
            .find(|(prefix, _)| {
                section
                    .strip_prefix(prefix)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
            .map(|(_, kind)| kind)
    }
}

/// Whose a part is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Owner {
    /// One of trapline's crates, or anyhow, by the crate's name in code.
    Crate(String),
    Embedding,
    /// Other code, which would not be there without them.
    BroughtAlong,
    /// The kernel.
    Rest,
}

/// A part with its owner.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) owner: Owner,
    pub(super) kind: Kind,
    pub(super) size: u64,
    /// What it is: a symbol, or a section.
    pub(super) name: String,
}

/// The parts of an image that was linked with `--emit-relocs`, by its file and its map.
pub(super) fn parts(image: &[u8], map: &str) -> Result<Vec<Part>> {
    let elf = ElfFile64::<LittleEndian>::parse(image).context("the image is no ELF file")?;
    let mut inputs = split_merged(map::parse(map)?, &elf)?;
    inputs.retain(|input| Kind::of(&input.section).is_some());
    inputs.sort_by_key(|input| input.address);
    let references = references(&elf, &inputs)?;
    let entry = find(&inputs, elf.entry()).context("the entry of the image is nowhere")?;
    let owners = owners(&inputs, &references, entry);
    let parts = inputs.into_iter().zip(owners).filter_map(|(input, owner)| {
        let kind = Kind::of(&input.section)?;
        let name = if input.symbol.is_empty() {
            input.section
        } else {
            input.symbol
        };
        let size = input.size;
        Some(Part {
            owner,
            kind,
            size,
            name,
        })
    });
    Ok(parts.collect())
}

/// Constants that the linker merged, one by one: strings, and numbers of the size that the
/// section's name tells.
fn split_merged(inputs: Vec<Input>, elf: &ElfFile64<'_, LittleEndian>) -> Result<Vec<Input>> {
    let mut result = Vec::new();
    for input in inputs {
        let piece = |start: u64, size: u64| Input {
            address: input.address + start,
            size,
            ..input.clone()
        };
        if input.section.starts_with(".rodata.str") {
            let bytes = bytes(elf, &input)?;
            let mut start = 0;
            for string in bytes.split_inclusive(|byte| *byte == 0) {
                result.push(piece(start, string.len() as u64));
                start += string.len() as u64;
            }
        } else if let Some(Ok(size)) = input.section.strip_prefix(".rodata.cst").map(str::parse) {
            let starts = (0..input.size).step_by(size);
            result.extend(starts.map(|start| piece(start, size as u64)));
        } else {
            result.push(input);
        }
    }
    Ok(result)
}

fn bytes<'d>(elf: &ElfFile64<'d, LittleEndian>, input: &Input) -> Result<&'d [u8]> {
    for section in elf.sections() {
        if let Ok(Some(bytes)) = section.data_range(input.address, input.size) {
            return Ok(bytes);
        }
    }
    anyhow::bail!("{} is not in the image", input.section)
}

/// Who refers to whom, as indices into `inputs`.
fn references(elf: &ElfFile64<'_, LittleEndian>, inputs: &[Input]) -> Result<Vec<(usize, usize)>> {
    let mut result = Vec::new();
    for section in elf.sections() {
        for (address, relocation) in section.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else {
                continue;
            };
            let symbol = elf.symbol_by_index(index)?;
            let RelocationFlags::Elf { r_type } = relocation.flags() else {
                continue;
            };
            // A symbol of its own says which part is meant, whatever is added to it.
            let mut target = symbol.address();
            if symbol.kind() == SymbolKind::Section {
                // LLD counts from the start of the output section, whatever value the symbol has.
                let section = symbol
                    .section_index()
                    .context("a section's symbol without it")?;
                let start = elf.section_by_index(section)?.address();
                target = start.wrapping_add_signed(relocation.addend());
                // Relative to the end of the field, which is four bytes long.
                let relative = [
                    R_X86_64_PC32,
                    R_X86_64_PLT32,
                    R_X86_64_GOTPCREL,
                    R_X86_64_GOTPCRELX,
                    R_X86_64_REX_GOTPCRELX,
                ];
                if elf.architecture() == Architecture::X86_64 && relative.contains(&r_type) {
                    target += 4;
                }
            }
            if let (Some(from), Some(to)) = (find(inputs, address), find(inputs, target))
                && from != to
            {
                result.push((from, to));
            }
        }
    }
    Ok(result)
}

/// The input section that contains `address`.
fn find(inputs: &[Input], address: u64) -> Option<usize> {
    let index = inputs
        .partition_point(|input| input.address <= address)
        .checked_sub(1)?;
    let input = &inputs[index];
    (address < input.address + input.size).then_some(index)
}

/// The owner of each of `inputs`.
fn owners(inputs: &[Input], references: &[(usize, usize)], entry: usize) -> Vec<Owner> {
    let mut owners: Vec<Option<Owner>> = inputs.iter().map(by_name).collect();
    let counted = |owner: &Option<Owner>| !matches!(owner, None | Some(Owner::Rest));

    let mut referred: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (from, to) in references {
        referred.entry(*from).or_default().push(*to);
    }
    let reach = |roots: Vec<usize>, may_pass: &dyn Fn(usize) -> bool| {
        let mut reached = vec![false; inputs.len()];
        let mut open = roots;
        while let Some(index) = open.pop() {
            if may_pass(index) && !std::mem::replace(&mut reached[index], true) {
                open.extend(referred.get(&index).into_iter().flatten());
            }
        }
        reached
    };
    let without = reach(vec![entry], &|index| !counted(&owners[index]));
    let roots = (0..inputs.len())
        .filter(|index| counted(&owners[*index]))
        .collect();
    let from_counted = reach(roots, &|_| true);
    for (index, owner) in owners.iter_mut().enumerate() {
        if owner.is_none() {
            if without[index] || !from_counted[index] {
                *owner = Some(Owner::Rest);
            } else if !is_anonymous(&inputs[index]) {
                *owner = Some(Owner::BroughtAlong);
            }
        }
    }
    // What has no name of its own goes with who refers to it, maybe by way of others.
    loop {
        let found: Vec<(usize, Owner)> = references
            .iter()
            .filter(|(from, to)| owners[*to].is_none() && counted(&owners[*from]))
            .filter_map(|(from, to)| Some((*to, owners[*from].clone()?)))
            .collect();
        if found.is_empty() {
            break;
        }
        for (to, owner) in found {
            owners[to].get_or_insert(owner);
        }
    }
    owners
        .into_iter()
        .map(|owner| owner.unwrap_or(Owner::Rest))
        .collect()
}

/// The owner, where object file and symbol tell.
fn by_name(input: &Input) -> Option<Owner> {
    let krate = |name: &str| Some(Owner::Crate(name.to_owned()));
    if input.krate == "anyhow" || (input.krate.starts_with("trapline_") && input.krate != IMAGE) {
        return krate(&input.krate);
    }
    if input.krate == LANGUAGE || input.symbol.starts_with(ALLOCATOR) {
        return Some(Owner::Rest);
    }
    if input.krate != IMAGE {
        return None;
    }
    if input.section == GUEST || input.symbol.contains(HEAP) {
        return Some(Owner::Rest);
    }
    // Code for types of several crates is the first one's.
    let mut names = input.symbol.match_indices("trapline_");
    let own = names.next()?.0;
    let first = &input.symbol[own..];
    if first.starts_with(EMBEDDING) {
        Some(Owner::Embedding)
    } else if first.starts_with(IMAGE) {
        Some(Owner::Rest)
    } else {
        krate(first.split("::").next().unwrap_or(first))
    }
}

/// A constant without a name, in the image's own object or made by the linker.
fn is_anonymous(input: &Input) -> bool {
    input.symbol.is_empty()
        && (input.krate.is_empty() || input.krate == IMAGE)
        && Kind::of(&input.section) != Some(Kind::Text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(krate: &str, section: &str, symbol: &str) -> Input {
        Input {
            address: 0,
            size: 1,
            krate: krate.to_owned(),
            section: section.to_owned(),
            symbol: symbol.to_owned(),
        }
    }

    #[test]
    fn kinds_are_told_by_whole_parts_of_a_sections_name() {
        assert_eq!(Kind::of(".data.rel.ro..Lanon.1"), Some(Kind::Rodata));
        assert_eq!(Kind::of(".data"), Some(Kind::Data));
        assert_eq!(Kind::of(".trapline.cpu_local.header"), Some(Kind::CpuLocal));
        assert_eq!(Kind::of(".textual"), None);
        assert_eq!(Kind::of(".eh_frame"), None);
    }

    #[test]
    fn generic_code_is_of_the_crate_that_it_names_first() {
        let owner = |symbol| by_name(&input(IMAGE, ".text._R", symbol));
        assert_eq!(
            owner("core::ptr::drop_in_place::<trapline_activation::trap::Trap>"),
            Some(Owner::Crate("trapline_activation".to_owned()))
        );
        assert_eq!(
            owner("<trapline_minimal_image::embedding::Guest as trapline_activation::Store>::f"),
            Some(Owner::Embedding)
        );
        assert_eq!(
            owner("trapline_minimal_image::kernel::log"),
            Some(Owner::Rest)
        );
        assert_eq!(owner("<talc::Talc>::allocate"), Some(Owner::Rest));
        assert_eq!(owner("<alloc::vec::Vec<u8>>::reserve"), None);
    }

    #[test]
    fn what_is_reached_only_by_way_of_trapline_is_brought_along() {
        let inputs = [
            input(IMAGE, ".text.boot", "_start"),
            input("trapline_arch", ".text.a", "trapline_arch::a"),
            input("core", ".text.shared", "core::shared"),
            input("core", ".text.only", "core::only"),
            input(IMAGE, ".rodata..Lanon.0", ""),
            input("", ".rodata.str1.1", ""),
            input("core", ".text.nobody", "core::nobody"),
            input("", ".rodata.str1.1", ""),
        ];
        let references = [(0, 1), (0, 2), (1, 2), (1, 3), (1, 4), (4, 5), (3, 7)];
        let arch = Owner::Crate("trapline_arch".to_owned());
        assert_eq!(
            owners(&inputs, &references, 0),
            [
                Owner::Rest,
                arch.clone(),
                Owner::Rest,
                Owner::BroughtAlong,
                arch.clone(),
                arch,
                Owner::Rest,
                Owner::BroughtAlong,
            ]
        );
    }
}
