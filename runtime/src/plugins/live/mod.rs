//! A live plugin: its accounts, its calls both ways, which plugins are registered, and how one instance follows
//! another.

pub(super) mod accounts;
mod asks;
pub(super) mod condition;
pub(super) mod handover;
pub(super) mod heads;
pub(super) mod hooks;
pub(super) mod link;
pub(super) mod on_the_way;
mod one_at_a_time;
pub(super) mod pacing;
pub(super) mod port;
pub(super) mod registry;
pub(super) mod services;
pub(super) mod siblings;
pub(super) mod tier;
pub(super) mod under_way;
pub(super) mod webhook_key;
