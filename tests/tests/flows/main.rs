//! The flows, with real processes, real files and real sockets. Each test has a house of its own.

mod adopt;
mod attachments;
mod bad_input;
mod crash;
mod emulator;
mod escape;
mod files;
mod fuzz;
mod github;
mod hostile;
mod plugins;
mod providers;
mod sandbox;
mod schema;
mod support;
mod terminal;
