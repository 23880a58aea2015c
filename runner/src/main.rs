//! The program inside the sandbox. Everything it does is in the library, which `vestibule runner`
//! calls too.

use std::process::ExitCode;

fn main() -> ExitCode {
    vestibule_runner::main(std::env::args_os().skip(1))
}
