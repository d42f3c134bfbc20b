//! The `sid` binary; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    sid_cli::main()
}
