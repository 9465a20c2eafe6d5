//! How large trapline is in an image: `docs/sizes.md`, and the check that it is true.

mod map;
mod page;
mod parts;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use self::page::Sizes;
use self::parts::{Kind, Owner, Part};
use crate::arch::{Arch, cargo_variable};
use crate::context::Context;
use crate::generated;
use crate::legs::bare;
use crate::process;
use crate::toolchain::{Bare, Compiler};

const PACKAGE: &str = "trapline-minimal-image";
/// The profile of the same name in the root manifest.
const PROFILE: &str = "minimal-image";
/// What the image prints when all is done.
const LAST_LINE: &str = "ok";
/// How long it may run.
const LIMIT: Duration = Duration::from_secs(120);

/// How much larger than the page says trapline's part may be, in percent.
const MARGIN: u64 = 10;

/// `cargo xtask image size`: builds and runs the image for each of `archs`, and prints the
/// tables, with the `largest` parts; or puts the tables into the page.
pub(crate) fn command(
    context: &Context,
    archs: &[Arch],
    largest: usize,
    update: bool,
) -> Result<()> {
    let mut measured = Vec::new();
    let mut compiler = None;
    for arch in archs {
        let bare = match context.bare(*arch)? {
            Ok(bare) => bare,
            Err(reason) => bail!("{}: {reason}", arch.name()),
        };
        let image = build(context, bare)?;
        boot(bare, &image.file)?;
        let parts = image.parts()?;
        if largest > 0 {
            print_largest(*arch, &parts, largest);
        }
        measured.push((*arch, Sizes::of(&parts)));
        compiler = Some(bare.compiler.version(&context.shell)?);
    }
    let compiler = compiler.context("no instruction set was named")?;
    let tables = page::tables(&compiler, &measured);
    if update {
        generated::update(context.root(), page::FILE, page::COMMAND, &tables)?;
    } else {
        print!("{tables}");
    }
    Ok(())
}

/// Builds and runs the image for one instruction set; fails if trapline's part has grown
/// over what the page says. The answer is a reason not to have compared.
pub(crate) fn check(context: &Context, bare: &Bare) -> Result<Option<String>> {
    let image = build(context, bare)?;
    boot(bare, &image.file)?;
    let file = context.root().join(page::FILE);
    let text = fs::read_to_string(file).with_context(|| page::FILE.to_owned())?;
    let stated = page::read(&text, bare.arch)?;
    let compiler = bare.compiler.version(&context.shell)?;
    if compiler != stated.compiler {
        return Ok(Some(format!(
            "{} is about {}, this is {compiler}: built and run only",
            page::FILE,
            stated.compiler
        )));
    }
    let now = Sizes::of(&image.parts()?).total().read_only();
    let name = bare.arch.name();
    let stated = stated.bytes;
    ensure!(
        now * 100 <= stated * (100 + MARGIN),
        "on {name} trapline's part has {now} bytes of .text and .rodata, and {} says {stated}: find out \
         what has grown (`cargo xtask image size --arch {name} --largest 30`), or measure anew \
         (`cargo xtask image size --update`)",
        page::FILE,
    );
    eprintln!(
        "{name}: {now} bytes of .text and .rodata, {stated} in {}",
        page::FILE
    );
    Ok(None)
}

/// An image and what the linker said of it.
struct Image {
    file: PathBuf,
    map: PathBuf,
}

impl Image {
    fn parts(&self) -> Result<Vec<Part>> {
        let read = |file: &PathBuf| fs::read(file).with_context(|| file.display().to_string());
        let map = String::from_utf8(read(&self.map)?).context("the linker's map is no UTF-8")?;
        parts::parts(&read(&self.file)?, &map)
    }
}

fn build(context: &Context, bare: &Bare) -> Result<Image> {
    let folder = context.target_dir("cross");
    let images = folder.join(bare.target()).join(PROFILE);
    let map = images.join(format!("{PACKAGE}.map"));
    // Where sources lie is in the messages of panics, whose size is not to depend on it.
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let home = home.context("neither CARGO_HOME nor HOME is set")?;
    let flags = [
        "-Crelocation-model=static".to_owned(),
        // Names that tell crates and types.
        "-Csymbol-mangling-version=v0".to_owned(),
        format!("--remap-path-prefix={}=cargo", home.display()),
    ];
    let mut command = context
        .cargo()
        .args([
            "rustc",
            "--quiet",
            "--package",
            PACKAGE,
            "--profile",
            PROFILE,
        ])
        .args(["--target", bare.target(), "--target-dir"])
        .arg(&folder)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env(cargo_variable(bare.target(), "RUSTFLAGS"), flags.join(" "))
        .envs(bare.variables());
    // As for the other crates without `std`.
    if bare.compiler != Compiler::Active {
        command = command
            .arg("-Zbuild-std=core,alloc")
            .env("RUSTC_BOOTSTRAP", "1");
    }
    command
        .args(["--", "-Clink-arg=--emit-relocs"])
        .arg(format!("-Clink-arg=-Map={}", map.display()))
        .run()?;
    let file = images.join(PACKAGE);
    Ok(Image { file, map })
}

/// Runs the image; fails, with what it printed, if it does.
fn boot(bare: &Bare, image: &std::path::Path) -> Result<()> {
    let mut output = String::new();
    let end = process::run(bare::emulator(bare, image)?, LIMIT, |line| output += line)?;
    let done = output.lines().any(|line| line.trim_end() == LAST_LINE);
    ensure!(
        done && bare::status(bare.arch, end) == Some(0),
        "the minimal image on {} ended otherwise than expected ({end}): {output}",
        bare.arch.name()
    );
    Ok(())
}

fn print_largest(arch: Arch, parts: &[Part], count: usize) {
    let mut counted: Vec<&Part> = parts
        .iter()
        .filter(|part| part.owner != Owner::Rest && part.kind <= Kind::Rodata)
        .collect();
    counted.sort_by_key(|part| std::cmp::Reverse(part.size));
    println!("{}:", arch.name());
    for part in counted.iter().take(count) {
        println!(
            "{:6} {:7} {:20} {}",
            part.size,
            format!("{:?}", part.kind).to_lowercase(),
            page::label(&part.owner),
            part.name
        );
    }
    println!();
}
