//! A server in the place of GitHub, for tests that need one at hand.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// What was asked, without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub authorization: String,
}

pub struct StandIn {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl StandIn {
    /// It answers by this: a status, headers that each end with a line break, and a body.
    pub fn start(answer: impl Fn(&Asked) -> (u16, String, String) + Send + 'static) -> StandIn {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let all = asked.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let mut words = head.first().map_or("", |line| line).split(' ').map(str::to_owned);
                let shown = head.iter().find_map(|line| line.strip_prefix("authorization: "));
                let one = Asked {
                    method: words.next().unwrap_or_default(),
                    path: words.next().unwrap_or_default(),
                    authorization: shown.unwrap_or_default().to_owned(),
                };
                let (status, headers, body) = answer(&one);
                all.lock().expect("no test panics here").push(one);
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
                );
                let _ = stream.write_all(&[head.as_bytes(), body.as_bytes()].concat());
            }
        });
        StandIn { url, asked }
    }

    /// All that was asked.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no test panics here").clone()
    }
}
