//! Every guest of the CLI crate traps here as it does in the Wasmtime runtime.

#[expect(unreachable_pub, reason = "one module for several test programs")]
mod support;

use std::fs;
use std::path::Path;

use support::{Mode, Outcome, run_on_both};

#[test]
fn every_guest_of_the_cli_gives_the_same_outcome_and_the_same_frames() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cli/guests");
    let mut guests: Vec<_> = fs::read_dir(&folder)
        .expect("the guests of the CLI crate")
        .map(|entry| entry.expect("an entry of that folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wat"))
        .collect();
    guests.sort();
    assert!(
        guests.len() >= 30,
        "only {} guests in {}",
        guests.len(),
        folder.display()
    );

    let mut left = 0;
    for guest in &guests {
        let wasm = wat::parse_file(guest).unwrap_or_else(|error| panic!("{error}"));
        for mode in Mode::ALL {
            let (ours, peer) = run_on_both(&wasm, mode);
            left += peer
                .0
                .iter()
                .filter(|(_, outcome)| matches!(outcome, Outcome::Left { .. }))
                .count();
            assert_eq!(
                ours.comparable(),
                peer.comparable(),
                "{} with {mode} (left: trapline, right: Wasmtime)",
                guest.display()
            );
        }
    }
    assert!(
        left >= 2 * 30,
        "only {left} guests were left with a trap, an error or a panic"
    );
}
