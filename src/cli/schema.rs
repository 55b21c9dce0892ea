//! `schema`: what a configuration may say, for machines.

use super::{Exit, print};
use crate::config::schema;

pub fn execute() -> Exit {
    print(&format!("{:#}\n", schema::schema()));
    Exit::Clean
}
