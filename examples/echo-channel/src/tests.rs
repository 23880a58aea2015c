use super::*;
use vestibule_plugin_api::testing::{self, Answer, ScriptedRuntime};

/// A started channel and where it listens.
async fn started(runtime: &ScriptedRuntime) -> (EchoChannel, String) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = free.local_addr().expect("bound").to_string();
    drop(free);
    let config = testing::config::<EchoChannel>(&format!(r#"{{ "listen": "{at}" }}"#)).expect("it fits");
    (EchoChannel::start(config, runtime.runtime("main")).await.expect("it starts"), at)
}

/// A reply in the thread of a message.
fn reply_to(heard: &InboundMessage, words: &str) -> OutboundMessage {
    let mut reply = testing::text("echo", heard.platform_id.as_str(), words);
    reply.address.thread_id = heard.thread_id.clone();
    reply
}

#[tokio::test]
async fn a_line_is_a_message_and_a_reply_is_a_line_back() {
    let runtime = ScriptedRuntime::new();
    let (channel, at) = started(&runtime).await;
    let mut call = BufReader::new(TcpStream::connect(at).await.expect("it listens"));
    call.get_mut().write_all(b"hello\n").await.expect("sent");

    let heard = runtime.next_message().await;
    assert_eq!((heard.text.as_str(), heard.is_mention), ("hello", true));
    channel.deliver(reply_to(&heard, "good\nday")).await.expect("delivered");
    let mut line = String::new();
    call.read_line(&mut line).await.expect("answered");
    assert_eq!(line, "good day\n");
    assert_eq!(runtime.faults(), [""; 0]);
    channel.stop().await;
}

#[tokio::test]
async fn a_file_goes_with_the_next_line_both_ways() {
    let runtime = ScriptedRuntime::new();
    let (channel, at) = started(&runtime).await;
    let mut call = BufReader::new(TcpStream::connect(at).await.expect("it listens"));
    call.get_mut().write_all(b"file 3 a.txt\nab\nlook\nfile x y\n").await.expect("sent");
    let heard = runtime.next_message().await;
    let file = &heard.attachments[0];
    assert_eq!((heard.text.as_str(), file.name.as_str()), ("look", "a.txt"));
    assert_eq!(file.bytes.as_deref(), Some(&b"ab\n"[..]));
    assert_eq!(runtime.next_message().await.text, "file x y", "which is no file");

    let reply = OutboundMessage { attachments: heard.attachments.clone(), ..reply_to(&heard, "seen") };
    channel.deliver(reply).await.expect("delivered");
    let mut said = vec![0; 21];
    call.read_exact(&mut said).await.expect("answered");
    assert_eq!(said, b"file 3 a.txt\nab\nseen\n");
    channel.stop().await;
}

#[tokio::test]
async fn what_cannot_be_delivered_is_refused() {
    let runtime = ScriptedRuntime::new();
    let (channel, _) = started(&runtime).await;
    let nobody = channel.deliver(testing::text("echo", "lines", "hello")).await;
    assert_eq!(nobody, Err(PluginError::refused("the caller has hung up")));
    channel.stop().await;
}

#[tokio::test]
async fn a_line_that_is_not_on_disk_ends_the_call() {
    let runtime = ScriptedRuntime::new();
    let _log = runtime.hear_log();
    let (channel, at) = started(&runtime).await;
    runtime.answer(Answer::Retry("the disk is full".into()));
    let mut call = TcpStream::connect(at).await.expect("it listens");
    call.write_all(b"hello\nare you there?\n").await.expect("sent");
    runtime.next_message().await;
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(runtime.messages().len(), 1, "the caller says it again");
    assert!(
        runtime.lines().iter().any(|(_, line)| line.contains("the disk is full")),
        "{:?}",
        runtime.lines()
    );
    channel.stop().await;
}
