//! The `sid` binary; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    sid_server::launch_if_asked();
    sid_cli::main()
}
