//! The container: which file this is, and where its sections lie.

use alloc::format;
use core::ops::Range;

use object::elf::{
    ELFCLASS64, ELFDATA2LSB, ELFDATA2MSB, ELFMAG, FileHeader64, SHT_NOBITS, SHT_REL, SHT_RELA,
    SHT_SYMTAB, STT_FUNC, Sym64,
};
use object::read::elf::{FileHeader as _, SectionHeader as _, SectionTable};
use object::{Endianness, elf};
use wasmtime_environ::obj;

use crate::Isa;
use crate::error::{ArtifactError, ArtifactErrorKind as Kind, Place};

/// What errors call the part of the file before the sections.
pub(crate) const HEADER: Place = Place::section("ELF header");

/// Byte offsets of fields in the ELF header, for error messages; from the ELF
/// specification's `Elf64_Ehdr`.
pub(crate) mod field {
    pub(super) const CLASS: usize = 4;
    pub(super) const DATA: usize = 5;
    pub(crate) const OS_ABI: usize = 7;
    pub(super) const MACHINE: usize = 18;
    pub(super) const SECTION_HEADERS: usize = 40;
    pub(super) const FLAGS: usize = 48;
    pub(super) const NAME_TABLE: usize = 62;
}

/// A section: the range of its bytes in the file.
pub(crate) type Section = Option<Range<usize>>;

/// The parts of an artifact, as ranges of bytes of the file.
#[derive(Clone, Default, Debug)]
pub(crate) struct Sections {
    pub(crate) text: Section,
    /// The alignment that the code needs in memory, in bytes; 1 without text.
    pub(crate) text_alignment: usize,
    pub(crate) engine: Section,
    pub(crate) info: Section,
    pub(crate) traps: Section,
    pub(crate) address_map: Section,
    pub(crate) exceptions: Section,
    pub(crate) wasm_data: Section,
    pub(crate) names: Section,
    pub(crate) dwarf: Section,
    pub(crate) bti: Section,
}

/// The symbols of an artifact: names and places of its functions, for debuggers.
pub(crate) struct Symbols<'file> {
    symbols: &'file [Sym64<Endianness>],
    endian: Endianness,
}

impl Symbols<'_> {
    /// Whether the compiler noted any.
    pub(crate) const fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }

    /// Text offset and length of each function, in the order of the table.
    pub(crate) fn functions(&self) -> impl Iterator<Item = (u64, u64)> {
        let functions = self.symbols.iter();
        functions
            .filter(|symbol| symbol.st_type() == STT_FUNC)
            .map(|symbol| {
                (
                    symbol.st_value.get(self.endian),
                    symbol.st_size.get(self.endian),
                )
            })
    }
}

/// Reads the header, the section headers, and where the symbols are.
pub(crate) fn parse(file: &[u8]) -> Result<(Isa, Sections, Symbols<'_>), ArtifactError> {
    check_identification(file)?;
    let header = FileHeader64::<Endianness>::parse(file).map_err(|error| {
        HEADER.error(
            Kind::NotAnArtifact,
            "an ELF header of 64 bytes",
            format!("{error}"),
        )
    })?;
    let endian = if file[field::DATA] == ELFDATA2LSB {
        Endianness::Little
    } else {
        Endianness::Big
    };
    let machine = header.e_machine(endian);
    let flags = header.e_flags(endian);
    if flags & obj::EF_WASMTIME_COMPONENT != 0 {
        let expected = "flag bit 0, a module";
        return Err(HEADER.at(field::FLAGS).error(
            Kind::Component,
            expected,
            format!("{flags:#x}"),
        ));
    }
    if flags != obj::EF_WASMTIME_MODULE {
        let expected = "flags 0x1, a module of native code";
        let kind = if flags & (obj::EF_WASMTIME_PULLEY32 | obj::EF_WASMTIME_PULLEY64) == 0 {
            Kind::NotAnArtifact
        } else {
            Kind::Machine
        };
        return Err(HEADER
            .at(field::FLAGS)
            .error(kind, expected, format!("{flags:#x}")));
    }
    let isa = match (machine, endian) {
        (elf::EM_X86_64, Endianness::Little) => Isa::X86_64,
        (elf::EM_AARCH64, Endianness::Little) => Isa::Aarch64,
        (elf::EM_RISCV, Endianness::Little) => Isa::Riscv64,
        (elf::EM_S390, Endianness::Big) => Isa::S390x,
        _ => {
            let expected = "machine 62 (x86_64), 183 (aarch64), 243 (riscv64) or 22 (s390x)";
            let found = format!("{machine}, {endian:?}-endian");
            return Err(HEADER
                .at(field::MACHINE)
                .error(Kind::Machine, expected, found));
        }
    };
    let headers = header.section_headers(endian, file).map_err(|error| {
        HEADER
            .at(field::SECTION_HEADERS)
            .corrupt("the offset of the section headers", format!("{error}"))
    })?;
    let names = header
        .section_strings(endian, file, headers)
        .map_err(|error| {
            HEADER
                .at(field::NAME_TABLE)
                .corrupt("the section with the section names", format!("{error}"))
        })?;

    let mut sections = Sections {
        text_alignment: 1,
        ..Sections::default()
    };
    for (number, section) in headers.iter().enumerate().skip(1) {
        let name = section.name(endian, names).map_err(|error| {
            HEADER.corrupt(format!("a name for section {number}"), format!("{error}"))
        })?;
        if matches!(section.sh_type(endian), SHT_REL | SHT_RELA) {
            let found = format!("relocations in section {number}");
            return Err(HEADER.error(Kind::Unsupported, "code that runs anywhere as it is", found));
        }
        let Some((known, slot)) = sections.slot(name) else {
            continue;
        };
        let place = Place::section(known);
        if slot.is_some() {
            return Err(place.corrupt("one section of this name", "a second one"));
        }
        let (start, size) = (section.sh_offset(endian), section.sh_size(endian));
        let range = usize::try_from(start).ok().zip(usize::try_from(size).ok());
        let range = range.and_then(|(start, size)| Some(start..start.checked_add(size)?));
        let range = range.filter(|range| range.end <= file.len());
        let Some(range) = range.filter(|_| section.sh_type(endian) != SHT_NOBITS) else {
            let expected = format!("bytes of the file, which has {:#x}", file.len());
            return Err(place.corrupt(expected, format!("{size:#x} bytes from {start:#x}")));
        };
        *slot = Some(range);
        if name == b".text" {
            let alignment = section.sh_addralign(endian);
            // The compiler uses the page size of the target: 4 or 64 KiB.
            let sane = alignment.is_power_of_two() && alignment <= 1 << 24;
            let expected = "an alignment that is a power of two, at most 16 MiB";
            place.check(sane, expected, || format!("{alignment}"))?;
            sections.text_alignment = alignment as usize;
            if section.sh_flags(endian) & obj::SH_WASMTIME_NOT_EXECUTED != 0 {
                return Err(place.error(
                    Kind::Machine,
                    "native code",
                    "bytecode of an interpreter",
                ));
            }
        }
    }
    let symbols = SectionTable::<FileHeader64<Endianness>>::new(headers, names)
        .symbols(endian, file, SHT_SYMTAB)
        .map_err(|error| HEADER.corrupt("a table of symbols", format!("{error}")))?;
    let symbols = Symbols {
        symbols: symbols.symbols(),
        endian,
    };
    Ok((isa, sections, symbols))
}

/// Checks the bytes that every ELF file starts with.
fn check_identification(file: &[u8]) -> Result<(), ArtifactError> {
    let byte = |offset: usize| file.get(offset).copied();
    if file.get(..4) != Some(ELFMAG.as_slice()) {
        let found = match file.get(..4) {
            Some(b"\0asm") => "a WebAssembly binary, which has to be compiled first".into(),
            Some(other) => format!("{other:02x?}"),
            None => format!("{} bytes", file.len()),
        };
        let expected = "the bytes 7f 45 4c 46";
        return Err(HEADER.at(0).error(Kind::NotAnArtifact, expected, found));
    }
    let check = |offset, holds: bool, expected| match byte(offset) {
        Some(_) if holds => Ok(()),
        Some(found) => {
            Err(HEADER
                .at(offset)
                .error(Kind::NotAnArtifact, expected, format!("{found}")))
        }
        None => Err(HEADER
            .at(offset)
            .error(Kind::NotAnArtifact, expected, "the end of the file")),
    };
    check(
        field::CLASS,
        byte(field::CLASS) == Some(ELFCLASS64),
        "class 2, a 64-bit file",
    )?;
    let known = matches!(byte(field::DATA), Some(ELFDATA2LSB | ELFDATA2MSB));
    check(field::DATA, known, "byte order 1 or 2")?;
    let os_abi = byte(field::OS_ABI) == Some(obj::ELFOSABI_WASMTIME);
    check(field::OS_ABI, os_abi, "OS ABI 200, the Wasmtime compiler's")
}

impl Sections {
    /// Where to note the section with this name; `None` for sections that
    /// nothing here needs.
    fn slot(&mut self, name: &[u8]) -> Option<(&'static str, &mut Section)> {
        Some(match core::str::from_utf8(name).ok()? {
            ".text" => (".text", &mut self.text),
            obj::ELF_WASM_ENGINE => (obj::ELF_WASM_ENGINE, &mut self.engine),
            obj::ELF_WASMTIME_INFO => (obj::ELF_WASMTIME_INFO, &mut self.info),
            obj::ELF_WASMTIME_TRAPS => (obj::ELF_WASMTIME_TRAPS, &mut self.traps),
            obj::ELF_WASMTIME_ADDRMAP => (obj::ELF_WASMTIME_ADDRMAP, &mut self.address_map),
            obj::ELF_WASMTIME_EXCEPTIONS => (obj::ELF_WASMTIME_EXCEPTIONS, &mut self.exceptions),
            obj::ELF_WASM_DATA => (obj::ELF_WASM_DATA, &mut self.wasm_data),
            obj::ELF_NAME_DATA => (obj::ELF_NAME_DATA, &mut self.names),
            obj::ELF_WASMTIME_DWARF => (obj::ELF_WASMTIME_DWARF, &mut self.dwarf),
            obj::ELF_WASM_BTI => (obj::ELF_WASM_BTI, &mut self.bti),
            _ => return None,
        })
    }
}
