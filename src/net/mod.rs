//! Stream sockets: TCP and Unix, told apart in one place.
//!
//! [`Listener`] is what every server of this program listens with; a [`Stream`] is a connection of either kind.

mod listener;
mod stream;
mod unix;

pub use listener::{Address, BindError, Endpoint, Listener, Socket};
pub use stream::Stream;
