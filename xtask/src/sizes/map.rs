//! What LLD's `-Map` says: which input section of which object lies where.

use anyhow::{Context as _, Result, ensure};

/// An input section that is in the image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Input {
    pub(super) address: u64,
    pub(super) size: u64,
    /// The crate whose code the object file is; empty for what the linker made itself.
    pub(super) krate: String,
    pub(super) section: String,
    /// The first symbol in it, demangled; empty if there is none.
    pub(super) symbol: String,
}

/// The columns of a line: virtual address, load address, size, alignment, and then a name,
/// further to the right for an input section and still further for a symbol.
const NAME: usize = 49;
const INDENT: &str = "        ";

/// The input sections that have a size and an address, in the order of the map.
pub(super) fn parse(map: &str) -> Result<Vec<Input>> {
    let mut lines = map.lines();
    let header = lines.next().unwrap_or_default();
    ensure!(
        header
            .split_whitespace()
            .eq(["VMA", "LMA", "Size", "Align", "Out", "In", "Symbol"])
            && header.find("Out") == Some(NAME),
        "this is no map of LLD's: {header}"
    );
    let mut inputs: Vec<Input> = Vec::new();
    // A symbol belongs to the input section before it, which may be an empty one.
    let mut open = false;
    for line in lines {
        let (Some(numbers), Some(name)) = (line.get(..NAME), line.get(NAME..)) else {
            continue;
        };
        let Some(name) = name.strip_prefix(INDENT) else {
            open = false;
            continue;
        };
        if let Some(symbol) = name.strip_prefix(INDENT) {
            if let Some(input) = inputs.last_mut()
                && open
                && input.symbol.is_empty()
                // Marks in the text ($x, .Lpcrel_hi0) name nothing.
                && !symbol.starts_with(['$', '.'])
            {
                input.symbol = symbol.to_owned();
            }
            continue;
        }
        open = false;
        let Some((file, section)) = name.strip_suffix(')').and_then(|n| n.rsplit_once(":(")) else {
            continue;
        };
        let mut numbers = numbers.split_whitespace();
        let mut number = || {
            let digits = numbers.next().context("a number is missing")?;
            u64::from_str_radix(digits, 16).with_context(|| format!("{digits} is no number"))
        };
        let (address, _, size) = (number()?, number()?, number()?);
        if address != 0 && size != 0 {
            inputs.push(Input {
                address,
                size,
                krate: crate_of(file).to_owned(),
                section: section.to_owned(),
                symbol: String::new(),
            });
            open = true;
        }
    }
    ensure!(!inputs.is_empty(), "the map names no input section");
    Ok(inputs)
}

/// The crate that an object file belongs to: `…/libNAME-HASH.rlib(NAME-HASH.….o)`, or the
/// object by itself.
fn crate_of(file: &str) -> &str {
    let object = file
        .rsplit_once('(')
        .map_or(file, |(_, object)| object.trim_end_matches(')'));
    if object.starts_with('<') {
        return "";
    }
    let name = object.rsplit_once('/').map_or(object, |(_, name)| name);
    name.split(['-', '.']).next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "             VMA              LMA     Size Align Out     In      Symbol
          100000                0        0     1 __text_start = .
          100000           100000      8fe    16 .text
          100000           100000       a9     1         /t/deps/minimal-e0.minimal.6f-cgu.0.rcgu.o:(.text.boot)
          100000           100000        0     1                 _start
          100004           100004        0     1                 enter_64_bit_mode
          1000b0           1000b0        0    16         /t/deps/minimal-e0.minimal.6f-cgu.0.rcgu.o:(.text)
          1000b0           1000b0        0     1                 nothing
          1000b0           1000b0       50     4         /t/deps/libtrapline_arch-ba.rlib(trapline_arch-ba.trapline_arch.fe-cgu.0.rcgu.o):(.text.x)
          1000b0           1000b0        0     1                 $x
          1000b0           1000b0       50     1                 <trapline_arch::X as core::fmt::Debug>::fmt
          109000           109000      640     1         <internal>:(.rodata.str1.1)
               0                0       64     1         <internal>:(.symtab)
";

    #[test]
    fn sections_have_address_size_crate_and_first_symbol() {
        let input = |address, size, krate: &str, section: &str, symbol: &str| Input {
            address,
            size,
            krate: krate.to_owned(),
            section: section.to_owned(),
            symbol: symbol.to_owned(),
        };
        assert_eq!(
            parse(SAMPLE).expect("a map"),
            [
                input(0x10_0000, 0xa9, "minimal", ".text.boot", "_start"),
                input(
                    0x10_00b0,
                    0x50,
                    "trapline_arch",
                    ".text.x",
                    "<trapline_arch::X as core::fmt::Debug>::fmt"
                ),
                input(0x10_9000, 0x640, "", ".rodata.str1.1", ""),
            ]
        );
    }

    #[test]
    fn another_linkers_map_is_refused() {
        assert!(parse("Archive member included\n").is_err());
        assert!(parse("").is_err());
    }
}
