//! A caller that says hello and listens, again and again: for `vestibule plugin conform --peer`.

use std::io::{Read, Write};
use std::net::TcpStream;

fn main() {
    let at = std::env::args().nth(1).unwrap_or("127.0.0.1:7007".into());
    loop {
        if let Ok(mut call) = TcpStream::connect(&at) {
            let mut heard = [0; 64 * 1024];
            let mut listens = call.write_all(b"hello\n").is_ok();
            while listens {
                listens = matches!(call.read(&mut heard), Ok(1..));
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
