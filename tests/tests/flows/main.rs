//! The flows, with real processes, real files and real sockets. Each test has a house of its own.

mod adopt;
mod attachments;
mod bad_input;
mod crash;
mod disk_full;
mod emulator;
mod escape;
mod files;
mod fuzz;
mod github;
mod hostile;
mod kill_loop;
mod kit;
mod kit_words;
mod locks;
mod plugins;
mod points;
mod power_cut;
mod providers;
mod sandbox;
mod schema;
mod support;
mod terminal;
mod tiers;
mod traffic;
