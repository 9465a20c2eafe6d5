//! Packages installed on the machine itself: only where nobody minds.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::Log;
use crate::process;

const LIMIT: Duration = Duration::from_secs(900);

/// What to put before a command so that it may install packages: nothing for root (as in
/// a container), `sudo` in CI. A developer's own machine is left as it is.
fn privilege() -> Result<&'static [&'static str]> {
    let user = Command::new("id").arg("-u").output()?;
    if user.stdout.trim_ascii() == b"0" {
        return Ok(&[]);
    }
    if std::env::var_os("CI").is_none() {
        bail!("this user may not install packages");
    }
    let sudo: &[&str] = &["sudo", "--non-interactive"];
    let end = process::run(command(sudo, &["true"]), Duration::from_secs(20), |_| {});
    if !end.is_ok_and(|end| end.success()) {
        bail!("sudo asks for a password");
    }
    Ok(sudo)
}

fn command(before: &[&str], args: &[&str]) -> Command {
    let mut words = before.iter().chain(args);
    let mut command = Command::new(words.next().expect("a program"));
    command
        .args(words)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8");
    command
}

/// Installs `packages`, those of them that this release has.
pub(crate) fn install(packages: &[String], log: &Log) -> Result<()> {
    super::program("apt-get").context("there is no apt-get: this is no Debian system")?;
    let privilege = privilege()?;
    let run = |args: &[&str]| log.run(command(privilege, args), LIMIT);
    run(&["apt-get", "--quiet", "update"])?;
    // Which package has an emulator differs between releases.
    let known: Vec<&str> = packages
        .iter()
        .map(String::as_str)
        .filter(|name| {
            Command::new("apt-cache")
                .args(["show", "--no-all-versions", name])
                .output()
                .is_ok_and(|output| output.status.success() && !output.stdout.is_empty())
        })
        .collect();
    log.line(&format!("apt-get install {}", known.join(" ")));
    let mut args = vec![
        "apt-get",
        "--quiet",
        "install",
        "--yes",
        "--no-install-recommends",
    ];
    args.extend(known);
    run(&args)
}
