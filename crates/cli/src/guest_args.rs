//! The options of `trapline run` that say how the guest is run, wherever they
//! are written: on the command line, or in the file that says what a guest is
//! expected to do.

use clap::{Args, Parser};
use trapline_script::GuestOptions;

/// How a guest is run.
#[derive(Args, Debug)]
pub struct GuestArgs {
    /// The exported function to call
    #[arg(long, value_name = "NAME")]
    invoke: Option<String>,

    /// The function's arguments: decimal or 0x… integers, floating-point
    /// numbers or their bits as 0x…, 128 bits as 0x…, `null`, or the number of
    /// a host reference
    #[arg(allow_hyphen_values = true)]
    args: Vec<String>,

    /// The stack that guests may use, in bytes [default: that of the embedder]
    #[arg(long, value_name = "BYTES")]
    max_wasm_stack: Option<usize>,

    /// The bytes that all memories may have together [default: no limit but the machine's]
    #[arg(long, value_name = "BYTES")]
    max_memory: Option<u64>,

    /// The elements that all tables may have together [default: that of the embedder]
    #[arg(long, value_name = "N")]
    max_table_elements: Option<u64>,

    /// The number of frames to keep of a backtrace, from the innermost; 0 for
    /// none
    #[arg(long, value_name = "N", default_value_t = GuestOptions::BACKTRACE_LIMIT)]
    backtrace_limit: usize,
}

impl GuestArgs {
    /// The same as the runner takes it.
    #[must_use]
    pub fn into_options(self) -> GuestOptions {
        GuestOptions {
            invoke: self.invoke,
            arguments: self.args,
            max_wasm_stack: self.max_wasm_stack,
            max_memory: self.max_memory,
            max_table_elements: self.max_table_elements,
            backtrace_limit: self.backtrace_limit,
        }
    }
}

/// Reads the options from words, as they stand in a `.expected` file.
///
/// # Errors
///
/// Names what is no such option.
pub fn parse_words(words: &[String]) -> Result<GuestOptions, clap::Error> {
    #[derive(Parser)]
    #[command(no_binary_name = true)]
    struct Words {
        #[command(flatten)]
        guest: GuestArgs,
    }
    Words::try_parse_from(words).map(|words| words.guest.into_options())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_on_the_command_line() {
        let words =
            |line: &str| parse_words(&line.split(' ').map(String::from).collect::<Vec<_>>());
        assert_eq!(parse_words(&[]).unwrap(), GuestOptions::default());
        let options =
            words("--backtrace-limit 3 --invoke f --max-wasm-stack 4096 -7 null").unwrap();
        assert_eq!(options.backtrace_limit, 3);
        assert_eq!(options.invoke.as_deref(), Some("f"));
        assert_eq!(options.max_wasm_stack, Some(4096));
        assert_eq!(options.arguments, ["-7", "null"]);
        let options = words("--max-memory 65536 --max-table-elements 10").unwrap();
        assert_eq!(options.max_memory, Some(65536));
        assert_eq!(options.max_table_elements, Some(10));
        assert!(words("--backtrace-limit many").is_err());
    }
}
