//! `vestibule`: `up` runs the runtime, `chat` talks to it, any other word is a verb for it.

// First: the modules below use its `println!` and `eprintln!`.
#[macro_use]
mod print;

mod bench;
mod bundled;
mod channel;
mod chat;
mod cli;
mod client;
mod conform;
mod dev;
mod log;
mod new;
mod plugin_file;
mod up;

use clap::Parser;
use std::process::ExitCode;
use vestibule_runtime::Error;

fn main() -> ExitCode {
    // The inner programs, keeper and runner, start without the machinery for people.
    let mut args = std::env::args_os().skip(1);
    match args.next().as_deref().and_then(std::ffi::OsStr::to_str) {
        Some("keeper") => return vestibule_keeper::main(args),
        Some("plugin-host") => return vestibule_runtime::plugins::host_main(),
        Some("runner") => return vestibule_runner::main(args),
        _ => {}
    }
    let cli = cli::Cli::parse();
    // `plugin new` makes its author's source, which is no secret.
    if !matches!(cli.command, cli::Command::Plugin(cli::PluginVerb::New(_))) {
        vestibule_runtime::private::take_umask();
    }
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vestibule: {error:#}");
            let setup = error.downcast_ref::<Error>();
            let is_misused = error.downcast_ref::<cli::Usage>().is_some();
            // 2: the operator must mend the config, the home or the command first; 1: the command failed.
            let is_mendable = is_misused || matches!(setup, Some(Error::Setup(_) | Error::Locked(_)));
            ExitCode::from(if is_mendable { 2 } else { 1 })
        }
    }
}

fn run(cli: cli::Cli) -> anyhow::Result<()> {
    bundled::link();
    let (level, audience) = match cli.command {
        cli::Command::Up => (cli::Level::Info, log::Audience::Operator),
        cli::Command::Plugin(cli::PluginVerb::Dev(_)) => (cli::Level::Info, log::Audience::Author),
        _ => (cli::Level::Warn, log::Audience::Operator),
    };
    log::start(cli.log.unwrap_or(level), audience);
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = threads.block_on(async {
        match cli.command {
            cli::Command::Up => up::up().await,
            cli::Command::Bench(cli::BenchVerb::Plugin(args)) => bench::plugin(args).await,
            cli::Command::Plugin(cli::PluginVerb::Check(args)) => plugin_file::check(args).await,
            cli::Command::Plugin(cli::PluginVerb::Trust(args)) => plugin_file::trust(args),
            cli::Command::Plugin(cli::PluginVerb::Untrust(args)) => plugin_file::untrust(args),
            cli::Command::Channel(verb) => channel::channel(verb).await,
            cli::Command::Chat(args) => chat::chat(args).await,
            cli::Command::Plugin(cli::PluginVerb::Conform(args)) => conform::conform(args).await,
            cli::Command::Plugin(cli::PluginVerb::Dev(args)) => dev::dev(args).await,
            cli::Command::Plugin(cli::PluginVerb::New(args)) => new::new(&args),
            cli::Command::Restore(args) => client::restore(args),
            other => client::verb(other).await,
        }
    });
    // A read of standard input may still block; the program does not wait for it.
    threads.shutdown_background();
    outcome
}
