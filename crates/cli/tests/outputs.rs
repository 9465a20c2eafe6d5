//! Where the program writes: outputs of any kind, and outputs that take nothing.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_trapline");

const MODULE: &str = r#"(module
    (import "host" "print_i32" (func $print (param i32)))
    (func (export "print") (call $print (i32.const 7)) (call $print (i32.const 8)))
    (func (export "print_and_trap") (call $print (i32.const 7)) unreachable)
    (func (export "trap") unreachable)
    (func (export "seven") (result i32) (i32.const 7)))"#;

struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("m.wat"), MODULE).expect("a file");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn names(&self) -> Vec<OsString> {
        let entries = fs::read_dir(self.folder.path()).expect("the folder");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        names
    }

    fn trapline(&self, args: &[&str]) -> Command {
        let mut command = trapline_test_support::program(PROGRAM);
        command
            .args(args)
            .env_remove("TRAPLINE_LOG")
            .env("RUST_BACKTRACE", "0")
            .current_dir(self.folder.path());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.trapline(args).output().expect("the program runs")
    }

    fn compile_to(&self, output: &str) -> Output {
        self.run(&["compile", "m.wat", "-o", output])
    }
}

fn succeeds(output: &Output) {
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

fn is_artifact(path: &Path) -> bool {
    fs::read(path).expect("a file").starts_with(b"\x7fELF")
}

#[test]
fn a_file_is_replaced_with_its_permissions() {
    let folder = Folder::new();
    let out = folder.path("out");
    fs::write(&out, "old").unwrap();
    fs::set_permissions(&out, Permissions::from_mode(0o640)).unwrap();
    let before = fs::metadata(&out).unwrap();
    succeeds(&folder.compile_to("out"));
    let after = fs::metadata(&out).unwrap();
    assert!(is_artifact(&out));
    assert_ne!(before.ino(), after.ino(), "it is another file");
    assert_eq!(after.mode() & 0o777, 0o640);
    assert_eq!(folder.names(), ["m.wat", "out"]);
}

#[test]
fn symbolic_links_are_followed_and_stay() {
    let folder = Folder::new();
    fs::create_dir(folder.path("elsewhere")).unwrap();
    let target = folder.path("elsewhere/target");
    symlink("elsewhere/target", folder.path("link")).unwrap();
    symlink("link", folder.path("link_to_link")).unwrap();
    // At first the links lead to nothing.
    for _ in 0..2 {
        succeeds(&folder.compile_to("link_to_link"));
        assert!(is_artifact(&target));
        for link in ["link", "link_to_link"] {
            let link = fs::symlink_metadata(folder.path(link)).unwrap();
            assert!(link.is_symlink());
        }
        fs::write(&target, "old").unwrap();
    }
    symlink("round", folder.path("round")).unwrap();
    let output = folder.compile_to("round");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn what_is_no_file_is_written_to() {
    let folder = Folder::new();
    let fifo = folder.path("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status().expect("mkfifo");
    assert!(made.success());
    let mut child = folder
        .trapline(&["compile", "m.wat", "-o", "fifo"])
        .spawn()
        .expect("the program runs");
    let mut read = Vec::new();
    File::open(&fifo).unwrap().read_to_end(&mut read).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(read.starts_with(b"\x7fELF"));
    assert!(fs::symlink_metadata(&fifo).unwrap().file_type().is_fifo());

    // A device, where one may be made.
    let device = folder.path("device");
    let made = Command::new("mknod")
        .arg(&device)
        .args(["c", "1", "3"])
        .output();
    if made.is_ok_and(|made| made.status.success())
        && OpenOptions::new().write(true).open(&device).is_ok()
    {
        succeeds(&folder.compile_to("device"));
        let kind = fs::symlink_metadata(&device).unwrap().file_type();
        assert!(kind.is_char_device());
    }

    // A folder is neither.
    fs::create_dir(folder.path("folder")).unwrap();
    let output = folder.compile_to("folder");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn a_minus_is_standard_output() {
    let folder = Folder::new();
    let output = folder.compile_to("-");
    succeeds(&output);
    assert!(output.stdout.starts_with(b"\x7fELF"));
    assert_eq!(folder.names(), ["m.wat"]);

    // By its name in the file system, too, whatever it is.
    let output = folder.compile_to("/dev/stdout");
    succeeds(&output);
    assert!(output.stdout.starts_with(b"\x7fELF"));
    let file = File::create(folder.path("out")).unwrap();
    let status = folder
        .trapline(&["compile", "m.wat", "-o", "/dev/stdout"])
        .stdout(file)
        .status()
        .unwrap();
    assert!(status.success());
    assert!(is_artifact(&folder.path("out")));
}

#[test]
fn a_file_that_may_be_written_in_a_folder_that_may_not_is_written() {
    let folder = Folder::new();
    // Nobody keeps root from writing: then somebody else tries.
    let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    let nobody = 65534;
    fs::create_dir(folder.path("closed")).unwrap();
    let out = folder.path("closed/out");
    fs::write(&out, "old").unwrap();
    fs::set_permissions(&out, Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(folder.path("closed"), Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(folder.folder.path(), Permissions::from_mode(0o755)).unwrap();
    let compile = |output: &str| {
        let mut command = if is_root {
            // Where the others may not come is the program, and its place.
            let copy = folder.path("trapline");
            if !copy.exists() {
                // By a process of its own: what this one has open for writing, a child that another test
                // starts at that moment has, too, and then the copy can't be run yet.
                let status = Command::new("cp")
                    .args([PROGRAM.as_ref(), copy.as_os_str()])
                    .status();
                assert!(status.unwrap().success());
            }
            let mut command = trapline_test_support::program(copy);
            command.uid(nobody).gid(nobody);
            command
        } else {
            trapline_test_support::program(PROGRAM)
        };
        command
            .args(["compile", "m.wat", "-o", output])
            .current_dir(folder.folder.path())
            .output()
            .expect("the program runs")
    };
    succeeds(&compile("closed/out"));
    assert!(is_artifact(&out));
    // What may not be written is not, and nothing new is made.
    fs::set_permissions(&out, Permissions::from_mode(0o444)).unwrap();
    fs::write(folder.path("mine"), "old").unwrap();
    fs::set_permissions(folder.path("mine"), Permissions::from_mode(0o400)).unwrap();
    for output in ["closed/out", "closed/new", "mine"] {
        let output = compile(output);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("Permission denied"), "{said}");
    }
    assert!(!folder.path("closed/new").exists());
    fs::set_permissions(folder.path("closed"), Permissions::from_mode(0o755)).unwrap();
}

/// A pipe that nobody reads.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

/// Where nothing can be written.
fn full() -> Stdio {
    let full = OpenOptions::new().write(true).open("/dev/full");
    full.expect("a device that is full").into()
}

/// What each command prints to standard output, and its exit status.
const COMMANDS: &[(&[&str], i32)] = &[
    (&["run", "m.wat", "--invoke", "print"], 0),
    (&["run", "m.wat", "--invoke", "seven"], 0),
    (&["run", "m.wat", "--invoke", "print_and_trap"], 134),
    (&["inspect", "m.wat"], 0),
    (&["inspect", "m.wat", "--json"], 0),
    (&["compile", "m.wat", "-o", "-"], 0),
    (&["wast", "good.wast"], 0),
    (&["wast", "bad.wast"], 1),
    (&["--help"], 0),
    (&["--version"], 0),
];

fn with_scripts() -> Folder {
    let folder = Folder::new();
    fs::write(folder.path("good.wast"), "(module)").unwrap();
    fs::write(folder.path("bad.wast"), "(assert_return (invoke \"f\"))").unwrap();
    folder
}

#[test]
fn who_closes_the_pipe_behind_standard_output_has_seen_enough() {
    let folder = with_scripts();
    for (args, status) in COMMANDS {
        let output = folder
            .trapline(args)
            .stdout(closed_pipe())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(*status), "{args:?}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("pipe"), "{args:?}: {said}");
        assert_eq!(said.is_empty(), *status != 134, "{args:?}: {said}");
    }
}

#[test]
fn a_standard_output_that_is_full_is_said_and_makes_a_success_a_failure() {
    let folder = with_scripts();
    for (args, status) in COMMANDS {
        let output = folder.trapline(args).stdout(full()).output().unwrap();
        let expected = if *status == 0 { 1 } else { *status };
        assert_eq!(output.status.code(), Some(expected), "{args:?}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.ends_with("error: cannot write to standard output\ncaused by: No space left on device (os error 28)\n"),
            "{args:?}: {said}"
        );
    }
}

#[test]
fn the_exit_status_is_the_same_whether_anybody_hears_of_errors() {
    let folder = with_scripts();
    let commands: &[(&[&str], i32)] = &[
        (&["run", "m.wat", "--invoke", "trap"], 134),
        (&["run", "m.wat", "--invoke", "trap", "--log", "trace"], 134),
        (&["run", "m.wat", "--invoke", "none"], 2),
        (&["run", "none.wat"], 1),
        (&["run", "m.wat", "--invoke", "seven", "--log", "trace"], 0),
        (&["fly"], 2),
        (&["wast", "none.wast"], 1),
        (&["inspect", "none.wat"], 1),
        (&["compile", "none.wat", "-o", "x"], 1),
    ];
    for (args, status) in commands {
        for stderr in [closed_pipe(), full()] {
            let mut command = folder.trapline(args);
            let command = command.stderr(stderr).stdout(Stdio::null());
            let found = command.status().unwrap();
            assert_eq!(found.code(), Some(*status), "{args:?}");
        }
    }
}
