//! The `polyarch` program: it parses, calls the library and turns an error into a message and a status.

use std::process::ExitCode;

fn main() -> ExitCode {
    polyarch::cli::main(std::env::args_os())
}
