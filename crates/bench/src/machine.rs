//! What the figures were measured on, and with.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

/// Lines of a list: what, and how it is here.
pub(crate) fn describe() -> Vec<(&'static str, String)> {
    let cores = thread::available_parallelism().map_or_else(|_| unknown(), |n| n.to_string());
    vec![
        ("processor", processor()),
        ("logical processors", cores),
        ("operating system", system()),
        ("compiler", output("rustc", &["--version"])),
        ("Wasmtime", trapline_wasmtime::COMPILER_RELEASE.to_owned()),
        (
            "commit",
            output("git", &["describe", "--always", "--dirty"]),
        ),
        ("date", today()),
    ]
}

fn unknown() -> String {
    String::from("unknown")
}

/// The first line that a program prints.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.ok().filter(|output| output.status.success());
    let text = output.and_then(|output| String::from_utf8(output.stdout).ok());
    let line = text.and_then(|text| Some(text.lines().next()?.to_owned()));
    line.unwrap_or_else(unknown)
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = field(&text, &["model name", "uarch", "processor 0", "CPU part"]);
    format!(
        "{} ({})",
        model.map_or_else(unknown, str::to_owned),
        std::env::consts::ARCH
    )
}

/// The first of these fields that there is, in text of the form `name : value`.
fn field<'a>(text: &'a str, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| {
        text.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            (found.trim() == *name).then(|| value.trim())
        })
    })
}

fn system() -> String {
    let read = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/kernel/{name}"));
        text.map_or_else(|_| unknown(), |text| text.trim().to_owned())
    };
    if cfg!(target_os = "linux") {
        format!("{} {}", read("ostype"), read("osrelease"))
    } else {
        std::env::consts::OS.to_owned()
    }
}

/// The date in UTC.
fn today() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    date(since.map_or(0, |since| since.as_secs() / 86_400))
}

/// The date so many days after 1970-01-01.
fn date(mut days: u64) -> String {
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = if leap(year) { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    format!("{year}-{:02}-{:02}", month + 1, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_follow_the_calendar() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(31 + 28), "1970-03-01");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(11_017), "2000-03-01");
        assert_eq!(date(20_453), "2025-12-31");
        assert_eq!(date(20_454), "2026-01-01");
    }

    #[test]
    fn fields_are_found_by_their_whole_names() {
        let text = "processor\t: 0\nmodel\t\t: 1\nmodel name\t: A Model: 7\nmodel name\t: other\n";
        assert_eq!(field(text, &["uarch", "model name"]), Some("A Model: 7"));
        assert_eq!(field(text, &["uarch"]), None);
    }

    #[test]
    fn every_line_says_something() {
        assert!(describe().iter().all(|(_, text)| !text.is_empty()));
    }
}
