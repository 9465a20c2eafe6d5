//! What a compiled artifact contains: functions, trap sites, address map.
//!
//! As text, one line each, in columns that start with a keyword, so that
//! `grep ^trap` and the like find their way; offsets are hexadecimal and in
//! bytes, of the code (*text*) or of the WebAssembly module (*bytecode*):
//!
//! ```text
//! module   demo, x86_64-unknown-linux-gnu, hardware traps, 4096 bytes of code
//! function 0x000000..0x000012 function 1 node_value
//! function 0x0001ad..0x000238 entry trampoline
//! trap     0x00000a out of bounds memory access
//! address  0x000004 0x000051
//! ```
//!
//! A `function` line has the text offsets of the function's code, what it is,
//! and for functions of the module their index and name, as [`Printable`] text. A `trap` line has the
//! text offset of an instruction that may trap, and the trap's message. An
//! `address` line has a text offset, and the bytecode offset that the code from
//! there on was compiled from (`-` for none).
//!
//! As JSON ([`Inspection::write_json`]), the same in one object, numbers as numbers and names as they
//! are; what is no ASCII in them is escaped (`\u009b`), so that no name changes a terminal.

use core::fmt;
use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use trapline_embed::Printable;
use trapline_wasmtime::{Artifact, function_kind_name};

/// What an artifact contains.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Inspection {
    /// The module's name, if it has one.
    pub module: Option<String>,
    /// The target triple that it was compiled for.
    pub target: String,
    /// Whether traps are hardware faults; else the code checks.
    pub hardware_traps: bool,
    /// The size of its code in bytes.
    pub text_size: usize,
    /// The functions, by ascending text offset.
    pub functions: Vec<Function>,
    /// The trap sites, by ascending text offset.
    pub traps: Vec<Trap>,
    /// The address map, by ascending text offset.
    pub addresses: Vec<Address>,
}

/// A function's code.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Function {
    /// The text offset of its first byte.
    pub start: u32,
    /// The text offset after its last byte.
    pub end: u32,
    /// What it is: `function` for those of the module, else the name of a kind
    /// of code that the compiler adds.
    pub kind: &'static str,
    /// The index in the module, imports included.
    pub index: Option<u32>,
    /// The name in the module.
    pub name: Option<String>,
}

/// An instruction that may trap.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Trap {
    /// Its text offset.
    pub text_offset: u32,
    /// The name of the `TrapKind`.
    pub kind: String,
    /// The trap's message.
    pub message: &'static str,
}

/// An entry of the address map.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Address {
    /// The text offset of the first instruction that it is about.
    pub text_offset: u32,
    /// The bytecode offset that the instructions come from.
    pub bytecode_offset: Option<u32>,
}

impl Inspection {
    /// Lists what an artifact contains.
    #[must_use]
    pub fn new(artifact: &Artifact) -> Self {
        let functions = artifact.iter_functions().map(|function| {
            let range = function.text_range();
            Function {
                start: range.start,
                end: range.end,
                kind: function_kind_name(function.key),
                index: function.index.map(|index| index.as_u32()),
                name: function.name.map(str::to_string),
            }
        });
        let traps = artifact.iter_traps().map(|site| Trap {
            text_offset: site.text_offset,
            kind: format!("{:?}", site.kind),
            message: site.kind.message(),
        });
        let addresses = artifact.iter_addresses().map(|entry| Address {
            text_offset: entry.text_offset,
            bytecode_offset: entry.bytecode_offset,
        });
        Self {
            module: artifact.module_name().map(str::to_string),
            target: artifact.settings().target().to_string(),
            hardware_traps: artifact.settings().signals_based_traps(),
            text_size: artifact.text().len(),
            functions: functions.collect(),
            traps: traps.collect(),
            addresses: addresses.collect(),
        }
    }

    /// Writes it as JSON, indented, in ASCII.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write_json(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let formatter = Ascii(PrettyFormatter::new());
        self.serialize(&mut Serializer::with_formatter(&mut *out, formatter))?;
        writeln!(out)
    }
}

/// Indented JSON in which whatever is no ASCII is escaped.
struct Ascii(PrettyFormatter<'static>);

macro_rules! indented {
    ($($name:ident($($first:ident)?);)*) => { $(
        fn $name<W: ?Sized + io::Write>(&mut self, out: &mut W $(, $first: bool)?) -> io::Result<()> {
            self.0.$name(out $(, $first)?)
        }
    )* };
}

impl Formatter for Ascii {
    indented! {
        begin_array();
        end_array();
        begin_array_value(first);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first);
        begin_object_value();
        end_object_value();
    }

    /// A piece of a string without what JSON itself wants escaped.
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let is_other = |character: char| !matches!(character, ' '..='~');
        for piece in fragment.split_inclusive(is_other) {
            let text = piece.trim_end_matches(is_other);
            out.write_all(text.as_bytes())?;
            for unit in piece[text.len()..].encode_utf16() {
                write!(out, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "module   {}, {}, {}, {} bytes of code",
            Printable(self.module.as_deref().unwrap_or("<unknown>")),
            Printable(&self.target),
            if self.hardware_traps {
                "hardware traps"
            } else {
                "explicit checks"
            },
            self.text_size
        )?;
        for Function {
            start,
            end,
            kind,
            index,
            name,
        } in &self.functions
        {
            write!(f, "function {start:#08x}..{end:#08x} {kind}")?;
            if let Some(index) = index {
                write!(f, " {index}")?;
            }
            if let Some(name) = name {
                write!(f, " {}", Printable(name))?;
            }
            writeln!(f)?;
        }
        for Trap {
            text_offset,
            message,
            ..
        } in &self.traps
        {
            writeln!(f, "trap     {text_offset:#08x} {message}")?;
        }
        for Address {
            text_offset,
            bytecode_offset,
        } in &self.addresses
        {
            match bytecode_offset {
                Some(bytecode) => writeln!(f, "address  {text_offset:#08x} {bytecode:#08x}")?,
                None => writeln!(f, "address  {text_offset:#08x} -")?,
            }
        }
        Ok(())
    }
}
