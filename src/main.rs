//! The `refusal-collector` command.
fn main() {}
