//! A server to try the channel with: each line that is typed, such as `ann: hello`, goes to the channel, and each that the
//! channel sends is printed. `peer hello` says hello itself when the channel connects: for `vestibule plugin conform --peer`.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::time::Duration;

const AT: &str = "127.0.0.1:7107";
/// The channel, while it is connected.
static CHANNEL: Mutex<Option<TcpStream>> = Mutex::new(None);

fn main() -> std::io::Result<()> {
    let says_hello = std::env::args().nth(1).is_some_and(|word| word == "hello");
    let listener = TcpListener::bind(AT)?;
    let serve =
        std::thread::spawn(move || listener.incoming().flatten().for_each(|call| serve(call, says_hello)));
    if says_hello {
        return serve.join().map_err(|_| std::io::Error::other("the server has ended"));
    }
    for line in std::io::stdin().lines() {
        let line = line?;
        while !send(&line) {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    // The last answer may be on its way.
    std::thread::sleep(Duration::from_secs(3));
    Ok(())
}

/// Says a line to the channel; false while there is none.
fn send(line: &str) -> bool {
    let mut channel = CHANNEL.lock().expect("no thread panics");
    channel.as_mut().is_some_and(|call| writeln!(call, "{line}").is_ok())
}

fn serve(call: TcpStream, says_hello: bool) {
    *CHANNEL.lock().expect("no thread panics") = call.try_clone().ok();
    if says_hello {
        send("ann: hello");
    }
    for line in BufReader::new(call).lines().map_while(Result::ok) {
        println!("{line}");
    }
    *CHANNEL.lock().expect("no thread panics") = None;
}
