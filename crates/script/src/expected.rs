//! Files that say what a guest does.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};
use trapline_wasmtime::Isa;

/// How the code of a guest finds traps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Traps {
    /// The hardware faults.
    Hardware,
    /// The code checks.
    Explicit,
}

impl fmt::Display for Traps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hardware => "hardware traps",
            Self::Explicit => "explicit checks",
        })
    }
}

/// What a guest is expected to do.
///
/// The file has sections, each begun by a line with its keyword:
///
/// ```text
/// args: --backtrace-limit 3        (optional: options for `trapline run`)
/// exit: 134
/// --- stdout
/// --- stderr
/// error: wasm trap: …
/// --- stderr, explicit checks      (optional: if it differs)
/// ```
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Expected {
    /// Options for `trapline run`.
    pub args: Vec<String>,
    /// The exit status.
    pub exit: u8,
    /// What is printed to the first stream.
    pub stdout: String,
    /// What is printed to the second stream, where traps are the hardware's.
    pub stderr: String,
    /// What is printed to the second stream by code with explicit checks, if
    /// it is something else.
    pub stderr_explicit: Option<String>,
}

const STDOUT: &str = "--- stdout\n";
const STDERR: &str = "--- stderr\n";
const STDERR_EXPLICIT: &str = "--- stderr, explicit checks\n";

/// What a report says before the address of a memory fault.
const FAULT: &str = "memory fault at wasm address 0x";

impl Expected {
    /// Reads a file's text.
    ///
    /// # Errors
    ///
    /// Names what is not in the format.
    pub fn parse(text: &str) -> Result<Self, ExpectedError> {
        let section = |name: &str| ExpectedError(format!("there is no section `{}`", name.trim()));
        let (head, rest) = text.split_once(STDOUT).ok_or_else(|| section(STDOUT))?;
        let (stdout, rest) = rest.split_once(STDERR).ok_or_else(|| section(STDERR))?;
        let (stderr, stderr_explicit) = match rest.split_once(STDERR_EXPLICIT) {
            Some((stderr, explicit)) => (stderr, Some(explicit.to_owned())),
            None => (rest, None),
        };
        let mut expected = Self {
            stdout: stdout.to_owned(),
            stderr: stderr.to_owned(),
            stderr_explicit,
            ..Self::default()
        };
        let mut has_exit = false;
        for line in head.lines() {
            let wrong = || ExpectedError(format!("`{line}` is neither `args: …` nor `exit: …`"));
            match line.split_once(": ").ok_or_else(wrong)? {
                ("args", args) => expected.args = args.split(' ').map(str::to_owned).collect(),
                ("exit", status) => {
                    expected.exit = status.parse().map_err(|_| wrong())?;
                    has_exit = true;
                }
                _ => return Err(wrong()),
            }
        }
        if !has_exit {
            return Err(ExpectedError("there is no `exit: …`".to_owned()));
        }
        Ok(expected)
    }

    /// What is printed to the second stream on a machine.
    ///
    /// The one thing that depends on the machine is how much of a faulting
    /// address it tells: z/Architecture has the page (Principles of Operation,
    /// "Translation-Exception Identification"; the kernel passes it on as
    /// `si_addr`), not the byte. There, and only there, the addresses of
    /// memory faults end in twelve zero bits.
    #[must_use]
    pub fn stderr_on(&self, isa: Isa, traps: Traps) -> String {
        let text = match (traps, &self.stderr_explicit) {
            (Traps::Explicit, Some(explicit)) => explicit,
            _ => &self.stderr,
        };
        match isa {
            Isa::S390x => round_faults_down(text, 1 << 12),
            _ => text.clone(),
        }
    }
}

/// The text, with the address of each memory fault rounded down.
fn round_faults_down(text: &str, page_size: u64) -> String {
    let mut rounded = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let address = line.find(FAULT).and_then(|at| {
            let (before, address) = line.split_at(at + FAULT.len());
            let end = address.find(' ')?;
            let (digits, after) = address.split_at(end);
            Some((before, u64::from_str_radix(digits, 16).ok()?, after))
        });
        match address {
            Some((before, address, after)) => {
                rounded += before;
                rounded += &format!("{:x}", address & !(page_size - 1));
                rounded += after;
            }
            None => rounded += line,
        }
    }
    rounded
}

/// The file's text.
impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.args.is_empty() {
            writeln!(f, "args: {}", self.args.join(" "))?;
        }
        write!(f, "exit: {}\n{STDOUT}{}", self.exit, self.stdout)?;
        write!(f, "{STDERR}{}", self.stderr)?;
        if let Some(explicit) = &self.stderr_explicit {
            write!(f, "{STDERR_EXPLICIT}{explicit}")?;
        }
        Ok(())
    }
}

/// Why a text does not say what a guest is expected to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExpectedError(String);

impl fmt::Display for ExpectedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for ExpectedError {}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;

    fn expected() -> Expected {
        Expected {
            args: ["--backtrace-limit", "3"].map(String::from).into(),
            exit: 134,
            stdout: "1\n".into(),
            stderr: "error: x\ncaused by: memory fault at wasm address 0x12fff0 in linear memory \
                     of size 0x10000\n"
                .into(),
            stderr_explicit: Some("error: y\n".into()),
        }
    }

    #[test]
    fn expectations_survive_writing_and_parsing() {
        let expected = expected();
        assert_eq!(Expected::parse(&expected.to_string()), Ok(expected.clone()));
        let shorter = Expected {
            args: Vec::new(),
            stderr_explicit: None,
            ..expected
        };
        assert_eq!(Expected::parse(&shorter.to_string()), Ok(shorter));
    }

    #[test]
    fn what_is_not_in_the_format_is_named() {
        let error = |text: &str| Expected::parse(text).unwrap_err().to_string();
        assert_eq!(error("exit: 1\n"), "there is no section `--- stdout`");
        assert_eq!(
            error("exit: 1\n--- stdout\n"),
            "there is no section `--- stderr`"
        );
        let sections = "--- stdout\n--- stderr\n";
        assert_eq!(error(sections), "there is no `exit: …`");
        assert_eq!(
            error(&format!("exit: x\n{sections}")),
            "`exit: x` is neither `args: …` nor `exit: …`"
        );
        assert!(error(&format!("exit 0\n{sections}")).contains("`exit 0`"));
    }

    #[test]
    fn only_s390x_tells_the_page_of_a_fault_and_no_more() {
        let expected = expected();
        for isa in [Isa::X86_64, Isa::Aarch64, Isa::Riscv64] {
            assert_eq!(expected.stderr_on(isa, Traps::Hardware), expected.stderr);
        }
        assert_eq!(
            expected.stderr_on(Isa::S390x, Traps::Hardware),
            expected.stderr.replace("0x12fff0", "0x12f000")
        );
        assert_eq!(
            expected.stderr_on(Isa::S390x, Traps::Explicit),
            "error: y\n"
        );
    }
}
