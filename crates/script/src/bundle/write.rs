//! Making bundles.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use trapline_wasmtime::Isa;

use super::format::{
    BlobEntry, Contents, GuestEntry, HEADER, MAGIC, ScriptEntry, VERSION, isa_code, traps_code,
};
use crate::expected::Traps;
use crate::guest::GuestOptions;

/// Compressed bytes, ready to be added to a bundle. Compressing needs no
/// bundle, so many threads can do it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Blob {
    size: u32,
    compressed: Vec<u8>,
}

impl Blob {
    /// Compresses some bytes.
    ///
    /// # Panics
    ///
    /// If there are 4 GiB of them or more.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self {
            size: u32::try_from(bytes.len()).expect("a part has less than 4 GiB"),
            compressed: lz4_flex::block::compress(bytes),
        }
    }
}

/// A guest to be added to a bundle.
#[derive(Clone, Debug)]
pub struct NewGuest {
    /// Its name.
    pub name: String,
    /// Its artifact.
    pub artifact: Blob,
    /// How it is run.
    pub options: GuestOptions,
    /// The exit status that is expected.
    pub exit: u8,
    /// What it is expected to print to the first stream.
    pub stdout: String,
    /// What it is expected to print to the second stream.
    pub stderr: String,
}

/// A script to be added to a bundle.
#[derive(Clone, Debug)]
pub struct NewScript {
    /// Its name.
    pub name: String,
    /// Its [encoded](crate::encode) actions.
    pub actions: Blob,
    /// Whether it starts threads.
    pub has_threads: bool,
    /// Its modules: the number that [`BundleWriter::add_blob`] gave the
    /// artifact, or why there is none.
    pub modules: Vec<Result<u32, String>>,
}

/// Makes a bundle. Equal blobs are stored once.
#[derive(Debug)]
pub struct BundleWriter {
    isa: Isa,
    traps: Traps,
    blobs: Vec<Blob>,
    numbers: BTreeMap<Blob, u32>,
    spectest: Option<u32>,
    guests: Vec<(NewGuest, u32)>,
    scripts: Vec<(NewScript, u32)>,
    artifacts: Vec<(String, u32)>,
}

impl BundleWriter {
    /// A bundle with nothing in it.
    #[must_use]
    pub fn new(isa: Isa, traps: Traps) -> Self {
        Self {
            isa,
            traps,
            blobs: Vec::new(),
            numbers: BTreeMap::new(),
            spectest: None,
            guests: Vec::new(),
            scripts: Vec::new(),
            artifacts: Vec::new(),
        }
    }

    /// Adds compressed bytes; returns their number.
    ///
    /// # Panics
    ///
    /// If there are 2^32 of them.
    pub fn add_blob(&mut self, blob: Blob) -> u32 {
        if let Some(number) = self.numbers.get(&blob) {
            return *number;
        }
        let number = u32::try_from(self.blobs.len()).expect("a bundle has less than 2^32 parts");
        self.blobs.push(blob.clone());
        self.numbers.insert(blob, number);
        number
    }

    /// Sets the compiled module [`SPECTEST`](crate::SPECTEST).
    pub fn set_spectest(&mut self, artifact: Blob) {
        self.spectest = Some(self.add_blob(artifact));
    }

    /// Adds a guest.
    pub fn add_guest(&mut self, guest: NewGuest) {
        let artifact = self.add_blob(guest.artifact.clone());
        self.guests.push((guest, artifact));
    }

    /// Adds a script.
    pub fn add_script(&mut self, script: NewScript) {
        let actions = self.add_blob(script.actions.clone());
        self.scripts.push((script, actions));
    }

    /// Adds an artifact that can be had by its name.
    pub fn add_artifact(&mut self, name: &str, artifact: Blob) {
        let number = self.add_blob(artifact);
        self.artifacts.push((name.into(), number));
    }

    /// The bundle's bytes.
    ///
    /// # Panics
    ///
    /// If the list of contents has 4 GiB or more.
    #[must_use]
    pub fn finish(&self) -> Vec<u8> {
        let contents = Contents {
            blobs: self.blobs.iter().map(entry).collect(),
            spectest: self.spectest,
            guests: self
                .guests
                .iter()
                .map(|(guest, artifact)| GuestEntry {
                    name: &guest.name,
                    artifact: *artifact,
                    options: guest.options.clone(),
                    exit: guest.exit,
                    stdout: &guest.stdout,
                    stderr: &guest.stderr,
                })
                .collect(),
            scripts: self
                .scripts
                .iter()
                .map(|(script, actions)| ScriptEntry {
                    name: &script.name,
                    actions: *actions,
                    has_threads: script.has_threads,
                    modules: script
                        .modules
                        .iter()
                        .map(|module| module.as_ref().map_err(|message| &**message).copied())
                        .collect(),
                })
                .collect(),
            artifacts: self
                .artifacts
                .iter()
                .map(|(name, number)| (&**name, *number))
                .collect(),
        };
        let contents = postcard::to_allocvec(&contents)
            .expect("memory takes all bytes, and lengths are known");
        let length = u32::try_from(contents.len()).expect("the contents have less than 4 GiB");
        let data: usize = self.blobs.iter().map(|blob| blob.compressed.len()).sum();
        let mut bytes = Vec::with_capacity(HEADER + contents.len() + data);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([isa_code(self.isa), traps_code(self.traps)]);
        bytes.extend(length.to_le_bytes());
        bytes.extend(crc32fast::hash(&contents).to_le_bytes());
        bytes.extend((data as u64).to_le_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes.extend(contents);
        for blob in &self.blobs {
            bytes.extend(&blob.compressed);
        }
        bytes
    }
}

fn entry(blob: &Blob) -> BlobEntry {
    BlobEntry {
        compressed: u32::try_from(blob.compressed.len()).expect("less than what was compressed"),
        size: blob.size,
        crc: crc32fast::hash(&blob.compressed),
    }
}
