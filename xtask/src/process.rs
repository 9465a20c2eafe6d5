//! Child processes with a time limit, whose output is looked at as it comes.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// How a process came to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Exited(ExitStatus),
    /// It was killed, since its time was over.
    TimedOut,
}

impl End {
    pub(crate) fn success(self) -> bool {
        matches!(self, Self::Exited(status) if status.success())
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(status) => status.fmt(f),
            Self::TimedOut => f.write_str("its time was over"),
        }
    }
}

/// Runs `command` without input for at most `limit`; `line` sees each line of its standard
/// output, the line's end included. What is not UTF-8 is replaced.
///
/// At the limit the process is killed, but not what it has started itself.
pub(crate) fn run(
    mut command: Command,
    limit: Duration,
    mut line: impl FnMut(&str),
) -> Result<End> {
    let deadline = Instant::now() + limit;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{:?} could not be started", command.get_program()))?;
    let mut output = BufReader::new(child.stdout.take().expect("stdout was piped"));
    // Bounded: a process may print faster than its output is looked at.
    let (sender, lines) = mpsc::sync_channel(1024);
    // Ends with the output's last writer. That may be a process which outlives the
    // child, so nobody waits for this thread.
    thread::spawn(move || {
        let mut buffer = Vec::new();
        while output.read_until(b'\n', &mut buffer).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&buffer).into_owned();
            if sender.send(text).is_err() {
                break;
            }
            buffer.clear();
        }
    });
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return kill(&mut child);
        }
        match lines.recv_timeout(left) {
            Ok(text) => line(&text),
            Err(RecvTimeoutError::Disconnected) => return wait(&mut child, deadline),
            Err(RecvTimeoutError::Timeout) => return kill(&mut child),
        }
    }
}

/// Runs `command` without input for at most `limit`, its output going to wherever the
/// command says.
pub(crate) fn run_silently(mut command: Command, limit: Duration) -> Result<End> {
    let deadline = Instant::now() + limit;
    let mut child = command
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("{:?} could not be started", command.get_program()))?;
    wait(&mut child, deadline)
}

fn wait(child: &mut Child, deadline: Instant) -> Result<End> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(End::Exited(status));
        }
        if Instant::now() >= deadline {
            return kill(child);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn kill(child: &mut Child) -> Result<End> {
    child.kill()?;
    child.wait()?;
    Ok(End::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn lines_and_status_are_those_of_the_process() {
        let mut seen = String::new();
        let end = run(
            shell("echo one; printf two; exit 3"),
            Duration::from_secs(60),
            |line| seen += line,
        )
        .expect("sh runs");
        assert_eq!(seen, "one\ntwo");
        assert!(matches!(end, End::Exited(status) if status.code() == Some(3)));
    }

    #[test]
    fn a_process_that_prints_nothing_is_stopped_at_the_limit() {
        let start = Instant::now();
        let end = run(shell("exec sleep 600"), Duration::from_millis(200), |_| {});
        assert_eq!(end.expect("sh runs"), End::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(300));
    }

    #[test]
    fn a_process_that_prints_all_the_time_is_stopped_at_the_limit() {
        let end = run(
            shell("while :; do echo x; done"),
            Duration::from_millis(200),
            |_| {},
        );
        assert_eq!(end.expect("sh runs"), End::TimedOut);
    }

    #[test]
    fn a_process_that_closed_its_output_is_stopped_at_the_limit() {
        let end = run(
            shell("exec sleep 600 >&-"),
            Duration::from_millis(200),
            |_| {},
        );
        assert_eq!(end.expect("sh runs"), End::TimedOut);
    }
}
