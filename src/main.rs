//! The `refusal-collector` command.

use refusal_collector::cli;
use std::process::ExitCode;

/// Keeps freed memory for the next request instead of giving it back to the system page by page. Without huge pages: they
/// took half as much again as was in use, which a hard memory limit does not forgive.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
