use super::*;

#[test]
fn a_line_of_the_server_is_read() {
    for (line, nick, verb, params) in [
        ("PING :irc.example", "", "PING", &["irc.example"][..]),
        (":ann!a@host PRIVMSG #team :bot: what is up :)", "ann", "PRIVMSG", &["#team", "bot: what is up :)"]),
        (":irc.example 433 * bot :Nickname in use", "irc.example", "433", &["*", "bot", "Nickname in use"]),
        (":ann!a@host NICK  anna", "ann", "NICK", &["anna"]),
        (":alone", "alone", "", &[]),
        ("", "", "", &[]),
    ] {
        let read = Line::of(line);
        assert_eq!((read.nick, read.verb, &read.params[..]), (nick, verb, params), "{line}");
    }
}

#[test]
fn a_mention_names_the_bot_first() {
    for (text, want) in [
        ("bot: hello", true),
        ("Bot, hello", true),
        ("@bot hello", true),
        ("bot", true),
        ("bottle: hello", false),
        ("bot_: hello", false),
        ("hello bot", false),
        ("bö", false),
        ("", false),
    ] {
        assert_eq!(names_first(text, "bot"), want, "{text}");
    }
}
