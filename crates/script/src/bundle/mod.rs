//! Bundles: compiled guests and scripts with all that is expected of them, in
//! one file.

mod format;
mod write;

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use trapline_embed::{Engine, LoadError, Module};
use trapline_wasmtime::{Artifact, Cpu, Isa};

use self::format::{
    BlobEntry, Contents, GuestEntry, HEADER, LARGEST_RATIO, MAGIC, ScriptEntry, VERSION,
    isa_of_code, traps_of_code,
};
use crate::action::{Step, decode};
use crate::error::{BundleError, BundleErrorKind};
use crate::expected::Traps;
use crate::guest::GuestOptions;
use crate::report::chain;
use crate::runner::Modules;
use crate::tally::Tally;

pub use write::{Blob, BundleWriter, NewGuest, NewScript};

/// A file of compiled guests and scripts. Cheap to clone.
///
/// The file stays where it is, compressed; one artifact at a time is
/// decompressed when it is used. Everything in it has a checksum.
#[derive(Clone)]
pub struct Bundle(Arc<Inner>);

struct Inner {
    isa: Isa,
    traps: Traps,
    contents: Contents<'static>,
    /// The place of each blob in `data`.
    blobs: Vec<Range<usize>>,
    data: &'static [u8],
    /// What the CPU has, if its user knows more than can be found out.
    has_feature: Option<HasFeature>,
}

/// Tells whether the CPU has what a flag of the compiler stands for, see
/// [`Cpu::new`].
type HasFeature = fn(&str) -> Option<bool>;

impl Bundle {
    /// Reads a bundle for the machine that this code runs on.
    ///
    /// # Errors
    ///
    /// If the bytes are no bundle of this version, are truncated or damaged,
    /// or are for another instruction set. Damage to the compressed parts is
    /// found when they are used.
    ///
    /// # Safety
    ///
    /// * If the bytes are a bundle, it is what [`BundleWriter`] made, and the
    ///   artifacts that went into it are what the compiler made. They are machine
    ///   code, which whoever has a bundle can run: nobody can tell by looking at it
    ///   that it stays in its sandbox.
    pub unsafe fn parse(bytes: &'static [u8]) -> Result<Self, BundleError> {
        // SAFETY: the caller's duty is the same.
        let bundle = unsafe { Self::parse_any_machine(bytes) }?;
        if Some(bundle.isa()) != Isa::HOST {
            let expected = Isa::HOST.map_or("an instruction set of the compiler", Isa::name);
            return Err(BundleError::new(
                BundleErrorKind::Machine,
                "header",
                10,
                expected,
                bundle.isa().name(),
            ));
        }
        Ok(bundle)
    }

    /// Reads a bundle for any machine. On another one its artifacts are refused
    /// when they are loaded.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse), but for the last.
    ///
    /// # Safety
    ///
    /// * As for [`parse`](Self::parse).
    pub unsafe fn parse_any_machine(bytes: &'static [u8]) -> Result<Self, BundleError> {
        let (header, contents, data) = split(bytes)?;
        let Header { isa, traps, .. } = header;
        let (contents, rest) = postcard::take_from_bytes::<Contents<'static>>(contents)
            .map_err(|error| BundleError::decoding(CONTENTS, HEADER, error))?;
        if !rest.is_empty() {
            return Err(corrupt(
                CONTENTS,
                HEADER,
                "its end",
                format!("{} more bytes", rest.len()),
            ));
        }
        let blobs = place_blobs(&contents.blobs, data.len())?;
        check_numbers(&contents)?;
        Ok(Self(Arc::new(Inner {
            isa,
            traps,
            contents,
            blobs,
            data,
            has_feature: None,
        })))
    }

    /// The same bundle for a CPU about which `has_feature` knows more than
    /// [`Cpu::host`] finds out: code below machine mode of riscv64, without an
    /// operating system, has nobody to ask.
    ///
    /// # Safety
    ///
    /// * The CPU has each feature that the function says it has, and it may be
    ///   used.
    #[must_use]
    pub unsafe fn with_cpu_features(self, has_feature: HasFeature) -> Self {
        let Inner {
            isa,
            traps,
            contents,
            blobs,
            data,
            ..
        } = &*self.0;
        Self(Arc::new(Inner {
            isa: *isa,
            traps: *traps,
            contents: contents.clone(),
            blobs: blobs.clone(),
            data,
            has_feature: Some(has_feature),
        }))
    }

    /// The instruction set that it was compiled for.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.0.isa
    }

    /// How its code finds traps.
    #[must_use]
    pub fn traps(&self) -> Traps {
        self.0.traps
    }

    /// The guests.
    pub fn guests(&self) -> impl ExactSizeIterator<Item = Guest<'_>> {
        let entries = self.0.contents.guests.iter();
        entries.map(|entry| Guest {
            bundle: self,
            entry,
        })
    }

    /// The scripts.
    pub fn scripts(&self) -> impl ExactSizeIterator<Item = Script<'_>> {
        let numbers = 0..self.0.contents.scripts.len();
        numbers.map(|number| Script {
            bundle: self,
            number,
        })
    }

    /// A script by its place in [`scripts`](Self::scripts).
    #[must_use]
    pub fn script(&self, number: usize) -> Option<Script<'_>> {
        (number < self.0.contents.scripts.len()).then_some(Script {
            bundle: self,
            number,
        })
    }

    /// What its scripts come to if all is well: every directive passes, also those
    /// of threads, but for those that are left out. Found by reading the scripts, so that
    /// what a machine counts can be compared with what another one knows.
    ///
    /// # Errors
    ///
    /// If a script is damaged.
    pub fn directives(&self) -> Result<Tally, BundleError> {
        let mut tally = Tally::default();
        for script in self.scripts() {
            tally += directives(&script.actions()?)?;
        }
        Ok(tally)
    }

    /// The names of the artifacts that are neither guests nor of scripts.
    pub fn artifact_names(&self) -> impl ExactSizeIterator<Item = &'static str> {
        self.0.contents.artifacts.iter().map(|(name, _)| *name)
    }

    /// An artifact by its name, decompressed.
    ///
    /// # Errors
    ///
    /// If there is none of this name, or if it is damaged.
    pub fn artifact(&self, name: &str) -> Result<Vec<u8>, BundleError> {
        self.blob(self.number_of(name)?)
    }

    /// The compiled module [`SPECTEST`](crate::SPECTEST), decompressed.
    ///
    /// # Errors
    ///
    /// If there is none, or if it is damaged.
    pub fn spectest(&self) -> Result<Vec<u8>, BundleError> {
        self.blob(self.number_of_spectest()?)
    }

    /// Loads the compiled module [`SPECTEST`](crate::SPECTEST).
    ///
    /// # Errors
    ///
    /// If there is none, or as [`Guest::load`].
    pub fn load_spectest(&self, engine: &Engine) -> Result<Module, String> {
        self.load(engine, self.number_of_spectest()?)
    }

    fn number_of_spectest(&self) -> Result<u32, BundleError> {
        let number = self.0.contents.spectest;
        number.ok_or_else(|| missing("the module `spectest`".into()))
    }

    /// Loads an artifact of the bundle.
    ///
    /// # Errors
    ///
    /// If it is damaged or does not fit the machine or the engine's platform, or if there
    /// is no room.
    pub(crate) fn load(&self, engine: &Engine, number: u32) -> Result<Module, String> {
        let bytes = self.blob(number)?;
        let artifact = match (&self.0.has_feature, Isa::HOST) {
            (Some(has_feature), Some(isa)) => {
                Artifact::parse_for(bytes, Cpu::new(isa, has_feature))
            }
            _ => Artifact::parse(bytes),
        };
        let artifact = artifact.map_err(LoadError::from);
        // SAFETY: the compiler's own output and what the CPU has, by the words of
        // who made the bundle from bytes; the checksum says that it is unchanged.
        let module =
            artifact.and_then(|artifact| unsafe { Module::from_artifact(engine, artifact) });
        module.map_err(|error| format!("cannot load: {}", chain(&error)))
    }

    /// Loads an artifact by its name.
    ///
    /// # Errors
    ///
    /// If there is none of this name, or as [`Guest::load`].
    pub fn load_artifact(&self, engine: &Engine, name: &str) -> Result<Module, String> {
        self.load(engine, self.number_of(name)?)
    }

    fn number_of(&self, name: &str) -> Result<u32, BundleError> {
        let mut entries = self.0.contents.artifacts.iter();
        let entry = entries.find(|(known, _)| *known == name);
        entry
            .map(|(_, number)| *number)
            .ok_or_else(|| missing(format!("an artifact `{name}`")))
    }

    /// What a blob stands for.
    fn blob(&self, number: u32) -> Result<Vec<u8>, BundleError> {
        let Inner {
            contents,
            blobs,
            data,
            ..
        } = &*self.0;
        let index = number as usize;
        let (entry, range) = (&contents.blobs[index], &blobs[index]);
        let compressed = &data[range.clone()];
        let place = || format!("compressed part {number}");
        let crc = crc32fast::hash(compressed);
        if crc != entry.crc {
            let (expected, found) = (format!("checksum {:#x}", entry.crc), format!("{crc:#x}"));
            return Err(corrupt(place(), 0, expected, found));
        }
        let size = entry.size as usize;
        let bytes = lz4_flex::block::decompress(compressed, size);
        let bytes =
            bytes.map_err(|error| corrupt(place(), 0, "an lz4 block", format!("{error}")))?;
        if bytes.len() != size {
            let (expected, found) = (format!("{size} bytes"), format!("{}", bytes.len()));
            return Err(corrupt(place(), 0, expected, found));
        }
        Ok(bytes)
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle")
            .field("isa", &self.0.isa)
            .field("traps", &self.0.traps)
            .field("guests", &self.0.contents.guests.len())
            .field("scripts", &self.0.contents.scripts.len())
            .field("bytes", &self.0.data.len())
            .finish_non_exhaustive()
    }
}

/// What encoded actions come to if all is well.
fn directives(actions: &[u8]) -> Result<Tally, BundleError> {
    let mut tally = Tally::default();
    for action in decode(actions) {
        match action?.step {
            Step::Skip => tally.skipped += 1,
            Step::Thread { actions, .. } => {
                tally.passed += 1;
                tally += directives(&actions)?;
            }
            _ => tally.passed += 1,
        }
    }
    Ok(tally)
}

/// A guest of a bundle.
#[derive(Clone, Copy, Debug)]
pub struct Guest<'a> {
    bundle: &'a Bundle,
    entry: &'a GuestEntry<'static>,
}

impl<'a> Guest<'a> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.entry.name
    }

    /// How it is run.
    #[must_use]
    pub fn options(&self) -> &'a GuestOptions {
        &self.entry.options
    }

    /// Its artifact, decompressed.
    ///
    /// # Errors
    ///
    /// If it is damaged.
    pub fn artifact(&self) -> Result<Vec<u8>, BundleError> {
        self.bundle.blob(self.entry.artifact)
    }

    /// Loads its module.
    ///
    /// # Errors
    ///
    /// If it is damaged or does not fit the machine or the engine's platform, or if there
    /// is no room.
    pub fn load(&self, engine: &Engine) -> Result<Module, String> {
        self.bundle.load(engine, self.entry.artifact)
    }

    /// The exit status that is expected.
    #[must_use]
    pub fn exit(&self) -> u8 {
        self.entry.exit
    }

    /// What it is expected to print to the first stream.
    #[must_use]
    pub fn stdout(&self) -> &'static str {
        self.entry.stdout
    }

    /// What it is expected to print to the second stream.
    #[must_use]
    pub fn stderr(&self) -> &'static str {
        self.entry.stderr
    }
}

/// A script of a bundle.
#[derive(Clone, Copy, Debug)]
pub struct Script<'a> {
    bundle: &'a Bundle,
    number: usize,
}

impl Script<'_> {
    fn entry(&self) -> &ScriptEntry<'static> {
        &self.bundle.0.contents.scripts[self.number]
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.entry().name
    }

    /// Its place in the bundle.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }

    /// Whether it starts threads.
    #[must_use]
    pub fn has_threads(&self) -> bool {
        self.entry().has_threads
    }

    /// Its actions, encoded, see [`decode`](crate::decode).
    ///
    /// # Errors
    ///
    /// If they are damaged.
    pub fn actions(&self) -> Result<Vec<u8>, BundleError> {
        self.bundle.blob(self.entry().actions)
    }

    /// The artifacts of its modules, decompressed one by one.
    pub fn artifacts(&self) -> impl Iterator<Item = Result<Vec<u8>, BundleError>> {
        let numbers = self.entry().modules.iter().flatten();
        numbers.map(|number| self.bundle.blob(*number))
    }

    /// Its modules.
    #[must_use]
    pub fn modules(&self) -> Arc<dyn Modules> {
        Arc::new(ScriptModules {
            bundle: self.bundle.clone(),
            number: self.number,
        })
    }
}

struct ScriptModules {
    bundle: Bundle,
    number: usize,
}

impl Modules for ScriptModules {
    fn load(&self, engine: &Engine, module: u32) -> Result<Module, String> {
        let modules = &self.bundle.0.contents.scripts[self.number].modules;
        let number = match modules.get(module as usize) {
            Some(Ok(number)) => *number,
            Some(Err(message)) => return Err((*message).into()),
            None => return Err(missing(format!("module {module} of the script")).into()),
        };
        self.bundle.load(engine, number)
    }
}

const CONTENTS: &str = "contents";

struct Header {
    isa: Isa,
    traps: Traps,
}

/// Checks the header and the checksum of the contents; returns the header, the
/// contents and the blobs.
fn split(bytes: &'static [u8]) -> Result<(Header, &'static [u8], &'static [u8]), BundleError> {
    let magic = bytes.get(..MAGIC.len()).unwrap_or(bytes);
    if magic != &MAGIC[..magic.len()] {
        return Err(BundleError::new(
            BundleErrorKind::NotABundle,
            "header",
            0,
            format!("{:?}", String::from_utf8_lossy(MAGIC)),
            format!("{:?}", String::from_utf8_lossy(magic)),
        ));
    }
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(truncated("header", HEADER, bytes.len()));
    };
    let u16_at = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
    let version = u16_at(8);
    if version != VERSION {
        return Err(BundleError::new(
            BundleErrorKind::Version,
            "header",
            8,
            format!("version {VERSION}"),
            format!("{version}"),
        ));
    }
    checksum("header", 28, &header[..28], u32_at(28))?;
    let isa = isa_of_code(header[10]);
    let isa = isa.ok_or_else(|| {
        let found = format!("{}", header[10]);
        corrupt("header", 10, "the number of an instruction set", found)
    })?;
    let traps = traps_of_code(header[11]);
    let traps = traps.ok_or_else(|| {
        let found = format!("{}", header[11]);
        corrupt("header", 11, "the number of a trap mode", found)
    })?;
    let Some((contents, data)) = rest.split_at_checked(u32_at(12) as usize) else {
        return Err(truncated(CONTENTS, u32_at(12) as usize, rest.len()));
    };
    checksum(CONTENTS, HEADER, contents, u32_at(16))?;
    let (found, expected) = (data.len() as u64, u64_at(20));
    if found < expected {
        return Err(truncated("compressed parts", expected as usize, data.len()));
    }
    if found > expected {
        let (expected, found) = (format!("{expected} bytes"), format!("{found}"));
        let at = HEADER + contents.len();
        return Err(corrupt("compressed parts", at, expected, found));
    }
    Ok((Header { isa, traps }, contents, data))
}

/// Where each blob lies; they fill `length` bytes.
fn place_blobs(entries: &[BlobEntry], length: usize) -> Result<Vec<Range<usize>>, BundleError> {
    let mut blobs = Vec::with_capacity(entries.len());
    let mut end = 0_usize;
    for (number, entry) in entries.iter().enumerate() {
        let start = end;
        end = end.saturating_add(entry.compressed as usize);
        // Nobody shall ask for memory that the block cannot fill.
        if u64::from(entry.size) > LARGEST_RATIO * u64::from(entry.compressed) {
            let found = format!("{} bytes from {}", entry.size, entry.compressed);
            let expected = format!("a size of part {number} that lz4 can reach");
            return Err(corrupt(CONTENTS, HEADER, expected, found));
        }
        blobs.push(start..end);
    }
    if end != length {
        let (expected, found) = (format!("parts of {length} bytes"), format!("{end}"));
        return Err(corrupt(CONTENTS, HEADER, expected, found));
    }
    Ok(blobs)
}

/// Checks that all blobs that are meant exist.
fn check_numbers(contents: &Contents<'_>) -> Result<(), BundleError> {
    let count = contents.blobs.len();
    let guests = contents.guests.iter().map(|guest| guest.artifact);
    let actions = contents.scripts.iter().map(|script| script.actions);
    let modules = contents.scripts.iter().flat_map(|script| &script.modules);
    let artifacts = contents.artifacts.iter().map(|(_, number)| *number);
    let all = contents.spectest.into_iter();
    let mut all = all
        .chain(guests)
        .chain(actions)
        .chain(modules.filter_map(|module| module.ok()))
        .chain(artifacts);
    match all.find(|number| *number as usize >= count) {
        None => Ok(()),
        Some(number) => Err(corrupt(
            CONTENTS,
            HEADER,
            format!("the number of one of {count} parts"),
            format!("{number}"),
        )),
    }
}

fn checksum(
    place: &'static str,
    offset: usize,
    bytes: &[u8],
    expected: u32,
) -> Result<(), BundleError> {
    let found = crc32fast::hash(bytes);
    if found == expected {
        return Ok(());
    }
    let (expected, found) = (format!("checksum {expected:#x}"), format!("{found:#x}"));
    Err(corrupt(place, offset, expected, found))
}

fn corrupt(
    place: impl Into<alloc::borrow::Cow<'static, str>>,
    offset: usize,
    expected: impl Into<alloc::borrow::Cow<'static, str>>,
    found: String,
) -> BundleError {
    BundleError::new(BundleErrorKind::Corrupt, place, offset, expected, found)
}

fn truncated(place: &'static str, expected: usize, found: usize) -> BundleError {
    BundleError::new(
        BundleErrorKind::Truncated,
        place,
        found,
        format!("{expected} bytes"),
        format!("{found}"),
    )
}

fn missing(what: String) -> BundleError {
    BundleError::new(BundleErrorKind::Missing, CONTENTS, HEADER, what, "none")
}
