//! The flows, with real processes, real files and real sockets. Each test has a house of its own.

mod bad_input;
mod crash;
mod emulator;
mod escape;
mod files;
mod github;
mod hostile;
mod plugins;
mod providers;
mod support;
mod terminal;
mod tiers;
