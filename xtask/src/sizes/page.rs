//! `docs/sizes.md`: the tables in it, written and read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use super::parts::{Kind, Owner, Part};
use crate::arch::Arch;

/// From the workspace root.
pub(super) const FILE: &str = "docs/sizes.md";

/// What writes the tables in it.
pub(super) const COMMAND: &str = "cargo xtask image size --update";

/// Before the compiler's version, which is followed by a back tick.
const COMPILER: &str = "Built by `";
/// The table with one row for each instruction set.
const TOTALS: &str = "| trapline's part | .text | .rodata | .data, .bss | for each CPU | the rest of the image: .text | .rodata |\n| --- | --: | --: | --: | --: | --: | --: |\n";

/// Bytes, by what they are.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Bytes {
    pub(super) text: u64,
    pub(super) rodata: u64,
    data: u64,
    cpu_local: u64,
}

impl Bytes {
    fn add(&mut self, kind: Kind, size: u64) {
        *match kind {
            Kind::Text => &mut self.text,
            Kind::Rodata => &mut self.rodata,
            Kind::Data | Kind::Bss => &mut self.data,
            Kind::CpuLocal => &mut self.cpu_local,
        } += size;
    }

    /// What is the same for all that the image does.
    pub(super) fn read_only(self) -> u64 {
        self.text + self.rodata
    }
}

/// The sums of an image's parts.
#[derive(Debug)]
pub(super) struct Sizes(BTreeMap<Owner, Bytes>);

impl Sizes {
    pub(super) fn of(parts: &[Part]) -> Self {
        let mut sums: BTreeMap<Owner, Bytes> = BTreeMap::new();
        for part in parts {
            let owner = part.owner.clone();
            sums.entry(owner).or_default().add(part.kind, part.size);
        }
        Self(sums)
    }

    /// All but the rest.
    pub(super) fn total(&self) -> Bytes {
        let mut total = Bytes::default();
        for bytes in self.counted().map(|(_, bytes)| bytes) {
            total.text += bytes.text;
            total.rodata += bytes.rodata;
            total.data += bytes.data;
            total.cpu_local += bytes.cpu_local;
        }
        total
    }

    fn counted(&self) -> impl Iterator<Item = (&Owner, &Bytes)> {
        self.0.iter().filter(|(owner, _)| **owner != Owner::Rest)
    }

    fn rest(&self) -> Bytes {
        self.0.get(&Owner::Rest).copied().unwrap_or_default()
    }
}

/// What a table calls the owner of a part.
pub(super) fn label(owner: &Owner) -> String {
    match owner {
        Owner::Crate(name) => name.replace('_', "-"),
        Owner::Embedding => "embedding".to_owned(),
        Owner::BroughtAlong => "core, alloc".to_owned(),
        Owner::Rest => "the rest".to_owned(),
    }
}

/// The part of the page that is written by the command.
pub(super) fn tables(compiler: &str, measured: &[(Arch, Sizes)]) -> String {
    let mut text = format!("{COMPILER}{compiler}`, in bytes:\n\n{TOTALS}");
    for (arch, sizes) in measured {
        let (total, rest) = (sizes.total(), sizes.rest());
        _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            arch.name(),
            total.text,
            total.rodata,
            total.data,
            total.cpu_local,
            rest.text,
            rest.rodata
        );
    }
    text.push_str("\n| .text + .rodata |");
    for (arch, _) in measured {
        _ = write!(text, " {} |", arch.name());
    }
    text.push_str("\n| --- |");
    text.push_str(&" --: |".repeat(measured.len()));
    text.push('\n');
    let mut owners: Vec<&Owner> = measured
        .iter()
        .flat_map(|(_, sizes)| sizes.counted())
        .map(|(owner, _)| owner)
        .collect();
    owners.sort();
    owners.dedup();
    for owner in owners {
        _ = write!(text, "| {} |", label(owner));
        for (_, sizes) in measured {
            let bytes = sizes.0.get(owner).copied().unwrap_or_default();
            _ = write!(text, " {} + {} |", bytes.text, bytes.rodata);
        }
        text.push('\n');
    }
    text
}

/// What the page says of an instruction set.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Stated {
    pub(super) compiler: String,
    /// Of .text and .rodata.
    pub(super) bytes: u64,
}

pub(super) fn read(page: &str, arch: Arch) -> Result<Stated> {
    let compiler = page
        .split_once(COMPILER)
        .and_then(|(_, rest)| rest.split_once('`'))
        .map(|(compiler, _)| compiler.to_owned())
        .with_context(|| format!("{FILE} does not say which compiler it is about"))?;
    let row = page
        .split_once(TOTALS)
        .map(|(_, rest)| rest)
        .into_iter()
        .flat_map(str::lines)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('|').map(str::trim).skip(1))
        .find(|row| row.clone().next() == Some(arch.name()))
        .with_context(|| format!("{FILE} has no row for {}", arch.name()))?;
    let mut numbers = row.skip(1).map(str::parse::<u64>);
    let mut number = || {
        numbers
            .next()
            .and_then(Result::ok)
            .with_context(|| format!("{FILE}: the row of {} has other columns", arch.name()))
    };
    let bytes = number()? + number()?;
    Ok(Stated { compiler, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::replace;

    fn measured() -> [(Arch, Sizes); 2] {
        let part = |owner, kind, size| Part {
            owner,
            kind,
            size,
            name: String::new(),
        };
        let arch = || Owner::Crate("trapline_arch".to_owned());
        [
            (
                Arch::X86_64,
                Sizes::of(&[
                    part(arch(), Kind::Text, 100),
                    part(arch(), Kind::Rodata, 10),
                    part(Owner::Embedding, Kind::Text, 7),
                    part(Owner::Embedding, Kind::Bss, 5),
                    part(Owner::Rest, Kind::Text, 1000),
                ]),
            ),
            (Arch::Riscv64, Sizes::of(&[part(arch(), Kind::Text, 90)])),
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        let page = format!("# Sizes\n\n<!-- by {COMMAND} -->\n<!-- end -->\nmore\n");
        let tables = tables("rustc 1.2.3 (abc 2000-01-01)", &measured());
        let page = replace(&page, COMMAND, &tables).expect("the page has a place");
        assert!(page.ends_with("more\n"));
        let stated = |bytes| Stated {
            compiler: "rustc 1.2.3 (abc 2000-01-01)".to_owned(),
            bytes,
        };
        assert_eq!(read(&page, Arch::X86_64).expect("a row"), stated(117));
        assert_eq!(read(&page, Arch::Riscv64).expect("a row"), stated(90));
        assert!(read(&page, Arch::Aarch64).is_err());
        // Again, over what is there.
        assert_eq!(
            replace(&page, COMMAND, &tables).expect("the same place"),
            page
        );
    }

    #[test]
    fn owners_have_a_row_with_all_instruction_sets() {
        let tables = tables("rustc", &measured());
        assert!(
            tables.contains("| trapline-arch | 100 + 10 | 90 + 0 |\n"),
            "{tables}"
        );
        assert!(
            tables.contains("| embedding | 7 + 0 | 0 + 0 |\n"),
            "{tables}"
        );
        assert!(
            tables.contains("| x86_64 | 107 | 10 | 5 | 0 | 1000 | 0 |\n"),
            "{tables}"
        );
    }
}
