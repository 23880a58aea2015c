//! A person who says hello in a channel, again and again: for `vestibule plugin conform --peer`. Its arguments are the
//! server and the channel.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let server = args.next().unwrap_or("127.0.0.1:6667".into());
    let channel = args.next().unwrap_or("#team".into());
    let mut server = TcpStream::connect(server)?;
    write!(server, "NICK peer\r\nUSER peer 0 * :peer\r\nJOIN {channel}\r\n")?;
    let mut replies = server.try_clone()?;
    // What is said meanwhile has to be read, or the server ends the connection.
    std::thread::spawn(move || while matches!(replies.read(&mut [0; 64 * 1024]), Ok(1..)) {});
    loop {
        std::thread::sleep(Duration::from_millis(300));
        write!(server, "PRIVMSG {channel} :hello\r\n")?;
    }
}
